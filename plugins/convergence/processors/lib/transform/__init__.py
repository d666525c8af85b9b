"""Tables that a SQL file fills from the org's other tables."""
