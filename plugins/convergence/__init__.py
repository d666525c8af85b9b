"""Multi-tenant cloud and LLM cost analytics on Apache Airflow."""
