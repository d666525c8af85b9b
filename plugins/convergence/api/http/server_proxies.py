"""What the command line of Airflow's API server makes of `X-Forwarded-For`, before our app sees it.

Source: Airflow 3.3.2, `airflow/api_fastapi/gunicorn_app.py::create_gunicorn_app`.
"""

from __future__ import annotations

from collections.abc import Sequence

from convergence.errors import SettingsError
from convergence.settings import Environment, Settings

_FLAG = "--proxy-headers"


def check_server(settings: Settings, *, server_type: str, arguments: Sequence[str]) -> None:
    """Refuse a production server that believes every client's own word for its address.

    Under gunicorn, `--proxy-headers` without `FORWARDED_ALLOW_IPS` trusts every peer.

    Args:
        settings: of this process.
        server_type: Airflow's `[api] server_type`.
        arguments: of the process that serves.

    Raises:
        SettingsError: saying which variable to set.
    """
    if settings.environment is not Environment.PRODUCTION or settings.forwarded_allow_ips:
        return
    if server_type.lower() == "gunicorn" and _FLAG in arguments:
        missing = (
            f"FORWARDED_ALLOW_IPS: missing; with {_FLAG} gunicorn trusts every address. "
            f"Name the reverse proxies there, or leave {_FLAG} out"
        )
        raise SettingsError("Production refuses this command", errors=[missing])
