"""`python -m convergence.api`: serve the API standalone, without Airflow in the process."""

from __future__ import annotations

import argparse
import logging
import sys

import uvicorn

from convergence.api.standalone import create_standalone
from convergence.errors import SettingsError
from convergence.security.redaction import RedactingFilter


def main() -> None:
    """Serve under `/api/v1`, with the liveness probe at the root too."""
    parser = argparse.ArgumentParser(prog="python -m convergence.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    _log_to_stderr()
    try:
        app = create_standalone()
    except SettingsError as error:
        sys.exit(str(error))
    # The peer is the connection's: uvicorn must not replace it by an address in a header.
    uvicorn.run(
        app,
        host=arguments.host,
        port=arguments.port,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        log_config=None,
    )


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
