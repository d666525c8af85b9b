"""Cost streams: the rows whose sum the invoices show."""
