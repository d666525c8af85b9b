"""`python -m convergence.api`: the API alone, without Airflow in the process."""

from __future__ import annotations

import argparse

import uvicorn

from convergence.api.alone import create_alone


def main() -> None:
    """Serve under `/api/v1`, with the live probe at the root as well."""
    parser = argparse.ArgumentParser(prog="python -m convergence.api", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    told = parser.parse_args()
    # Peers are told by their connection: no header may claim to be another address.
    uvicorn.run(
        create_alone(),
        host=told.host,
        port=told.port,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
