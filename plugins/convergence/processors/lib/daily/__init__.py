"""Daily slices: fetching days in ranges, inputs, attempts, publication and the ledger."""
