"""Why an organization's bills differ from the cost that its usage makes."""
