"""BigQuery's REST API on the engine."""
