"""Create the accounts of Airflow once, at the start of a deployment."""
