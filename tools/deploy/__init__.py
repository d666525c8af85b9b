"""What a deployment runs once at its start: the accounts that Airflow knows."""
