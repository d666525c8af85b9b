"""Where Airflow, and with it the API, is reached when the channels' settings don't say."""

from __future__ import annotations

_LOCAL = "http://localhost:8080"


def base_url() -> str:
    """Airflow's own address, without a slash at the end."""
    from airflow.sdk.configuration import conf

    return str(conf.get("api", "base_url", fallback=None) or _LOCAL).rstrip("/")
