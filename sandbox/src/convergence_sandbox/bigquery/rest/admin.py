"""`/_sandbox`: health, faults and limits of the BigQuery stand-in, for tests.

GET    /_sandbox/health
POST   /_sandbox/faults    one rule (`faults.Fault`)
GET    /_sandbox/faults    those in force
DELETE /_sandbox/faults
GET    /_sandbox/limits
PATCH  /_sandbox/limits    {"dml_queue": 20, "load_jobs_per_table_day": 1500}; 0 is no limit
"""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.bigquery.rest.faults import Fault, Faults
from convergence_sandbox.bigquery.rest.limits import Limits
from convergence_sandbox.bigquery.rest.wire import body_json, reply


class AdminRoutes:
    """The HTTP side of the sandbox's own switches."""

    def __init__(self, *, faults: Faults, limits: Limits) -> None:
        self._faults = faults
        self._limits = limits

    def routes(self) -> list[Route]:
        """Everything under `/_sandbox`."""
        return [
            Route("/_sandbox/health", self.health, methods=["GET"]),
            Route("/_sandbox/faults", self.add_fault, methods=["POST"]),
            Route("/_sandbox/faults", self.list_faults, methods=["GET"]),
            Route("/_sandbox/faults", self.clear_faults, methods=["DELETE"]),
            Route("/_sandbox/limits", self.get_limits, methods=["GET"]),
            Route("/_sandbox/limits", self.set_limits, methods=["PATCH"]),
        ]

    async def health(self, _request: Request) -> Response:
        """Return whether the process listens."""
        return reply({"status": "ok"})

    async def add_fault(self, request: Request) -> Response:
        """Put a rule in force."""
        fault = Fault.parse(await body_json(request))
        self._faults.add(fault)
        return reply(fault.describe(), status=201)

    async def list_faults(self, _request: Request) -> Response:
        """Return the rules still in force."""
        return reply({"faults": self._faults.listing()})

    async def clear_faults(self, _request: Request) -> Response:
        """Drop them all."""
        self._faults.clear()
        return reply()

    async def get_limits(self, _request: Request) -> Response:
        """Return the quotas in force."""
        return reply(asdict(self._limits.settings))

    async def set_limits(self, request: Request) -> Response:
        """Change the quotas."""
        self._limits.settings = self._limits.settings.with_changes(await body_json(request))
        return reply(asdict(self._limits.settings))
