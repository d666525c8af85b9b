"""Amazon Web Services: the customer's Data Exports."""
