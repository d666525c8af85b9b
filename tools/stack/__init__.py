"""The local stack: starts the sandbox and Airflow side by side, watches them, stops them all."""
