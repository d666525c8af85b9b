"""Readiness: concurrent checks of all services that the API depends on, each with a timeout."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.stalls import check_stall
from convergence.api.http.services import ApiServices
from convergence.api.platform.models import ReadinessCheck, ReadinessResponse
from convergence.errors import ConvergenceError, OrchestratorUnavailableError
from convergence.security.redaction import redact

log = logging.getLogger(__name__)

CHECK_TIMEOUT_SECONDS = 5.0
# The route needs no key: its requests must not become requests to the services behind it.
_CACHE_SECONDS = 3.0


class Readiness:
    """Checks at most every few seconds; in between it returns the last result."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self._found: tuple[float, ReadinessResponse] | None = None

    async def get_readiness(self) -> ReadinessResponse:
        """Return the present readiness, at most three seconds old."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > _CACHE_SECONDS:
                self._found = (time.monotonic(), await self._run_checks())
            return self._found[1]

    async def _run_checks(self) -> ReadinessResponse:
        checks = {
            "state": self._check_state,
            "warehouse": self._check_warehouse,
            "kms": self._check_kms,
            "airflow": self._check_airflow,
            "tasks": self._check_tasks,
        }
        found = await asyncio.gather(*(_run_check(name, check) for name, check in checks.items()))
        ready = all(check.status == "ok" for check in found)
        return ReadinessResponse(
            status="ready" if ready else "not_ready", checks=dict(zip(checks, found, strict=True))
        )

    async def _check_state(self) -> None:
        def query() -> None:
            with self._services.store.read() as conn:
                conn.execute(text("SELECT 1"))

        await run_in_threadpool(query)

    async def _check_warehouse(self) -> None:
        await run_in_threadpool(self._services.check_warehouse)

    async def _check_kms(self) -> None:
        def check() -> None:
            # `services.kms` connects its client at the first access: that blocks too.
            self._services.kms.get_primary_version()

        await run_in_threadpool(check)

    async def _check_airflow(self) -> None:
        if unhealthy := await self._services.airflow.list_unhealthy():
            raise OrchestratorUnavailableError("Airflow is not healthy.", components=unhealthy)

    async def _check_tasks(self) -> None:
        await check_stall(self._services.stalls)


async def _run_check(name: str, check: Callable[[], Awaitable[None]]) -> ReadinessCheck:
    began = time.perf_counter()
    code: str | None = None
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check()
    except TimeoutError:
        code = "timeout"
    except ConvergenceError as error:
        code = error.code
        log.warning("%s is not ready: %s", name, redact(str(error)))
    except Exception as error:  # noqa: BLE001 - any failure means not ready
        code = "error"
        log.warning("%s is not ready: %s", name, redact(repr(error)))
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return ReadinessCheck(status="failed" if code else "ok", milliseconds=milliseconds, code=code)
