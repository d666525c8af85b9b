"""Check of how Airflow's API server handles `X-Forwarded-For` before our app receives a request.

Source: Airflow 3.3.2, `airflow/api_fastapi/gunicorn_app.py::create_gunicorn_app`.
"""

from __future__ import annotations

from collections.abc import Sequence

from convergence.errors import SettingsError
from convergence.settings import Environment, Settings

_FLAG = "--proxy-headers"


def check_server(settings: Settings, *, server_type: str, arguments: Sequence[str]) -> None:
    """Reject a production server that trusts the address sent by any client.

    Under gunicorn, `--proxy-headers` without `FORWARDED_ALLOW_IPS` trusts every peer.

    Args:
        settings: settings of this process.
        server_type: Airflow's `[api] server_type`.
        arguments: arguments of the server process.

    Raises:
        SettingsError: names the variable to set.
    """
    if settings.environment is not Environment.PRODUCTION or settings.forwarded_allow_ips:
        return
    if server_type.lower() == "gunicorn" and _FLAG in arguments:
        missing = (
            f"FORWARDED_ALLOW_IPS: missing; with {_FLAG} gunicorn trusts every address. "
            f"Set it to the addresses of the reverse proxies, or remove {_FLAG}"
        )
        raise SettingsError("This command is not allowed in production", errors=[missing])
