"""Executors for Airflow's scheduler; each is named by its path in `[core] executor`."""
