"""Find the base URL of Airflow and the API when the channels' settings have none."""

from __future__ import annotations

_LOCAL = "http://localhost:8080"


def base_url() -> str:
    """Return Airflow's URL, without a slash at the end."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback=None) or _LOCAL).rstrip("/")
