"""What the service needs to do its work, each asked at the same time and within a limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.stalls import refuse_stall
from convergence.api.http.models import Check, Ready
from convergence.api.http.services import Services
from convergence.errors import ConvergenceError, OrchestratorUnavailableError
from convergence.security.redaction import redact

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
# The route has no key: however often it is asked, the services behind it are asked this rarely.
_KEPT_SECONDS = 3.0


class Readiness:
    """Asks at most every few seconds; those who ask in between get the last answer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = asyncio.Lock()
        self._found: tuple[float, Ready] | None = None

    async def look(self) -> Ready:
        """The present standing, at most three seconds old."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > _KEPT_SECONDS:
                self._found = (time.monotonic(), await self._ask())
            return self._found[1]

    async def _ask(self) -> Ready:
        checks = {
            "state": self._state,
            "warehouse": self._warehouse,
            "kms": self._kms,
            "airflow": self._airflow,
            "tasks": self._tasks,
        }
        found = await asyncio.gather(*(_timed(name, ask) for name, ask in checks.items()))
        ready = all(check.status == "ok" for check in found)
        return Ready(
            status="ready" if ready else "not_ready", checks=dict(zip(checks, found, strict=True))
        )

    async def _state(self) -> None:
        def ask() -> None:
            with self._services.store.read() as conn:
                conn.execute(text("SELECT 1"))

        await run_in_threadpool(ask)

    async def _warehouse(self) -> None:
        await run_in_threadpool(self._services.warehouse_check)

    async def _kms(self) -> None:
        await run_in_threadpool(self._ask_kms)

    def _ask_kms(self) -> None:
        self._services.kms.get_primary_version()

    async def _airflow(self) -> None:
        if sick := await self._services.airflow.unhealthy():
            raise OrchestratorUnavailableError("Airflow is not healthy.", components=sick)

    async def _tasks(self) -> None:
        await refuse_stall(self._services.stalls)


async def _timed(name: str, ask: Callable[[], Awaitable[None]]) -> Check:
    began = time.perf_counter()
    code: str | None = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ask()
    except TimeoutError:
        code = "timeout"
    except ConvergenceError as error:
        code = error.code
        log.warning("%s is not ready: %s", name, redact(str(error)))
    except Exception as error:  # noqa: BLE001 - whatever fails means not ready
        code = "error"
        log.warning("%s is not ready: %s", name, redact(repr(error)))
    milliseconds = round((time.perf_counter() - began) * 1000, 1)
    return Check(status="failed" if code else "ok", milliseconds=milliseconds, code=code)
