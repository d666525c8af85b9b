"""Background tasks of an API process.

They start waiting and due runs, close runs without an end, ship the outbox, report that no task
begins, record the uses of keys and the denied requests, and delete old records. The minute task
(`system.tick`) does the first three too, but needs a slot of Airflow's executor and a worker; an
API process needs neither.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import anyio.from_thread
import anyio.to_thread

from convergence.api.airflow import stalls
from convergence.api.http.services import ApiServices
from convergence.api.schedules.dispatching import ClientOrchestrator
from convergence.errors import RequestInFlightError
from convergence.runs.dispatch import Dispatcher
from convergence.security.redaction import redact
from convergence.state import retention
from convergence.tenants import shipping
from convergence.tenants.api_keys import key_digests, keys

log = logging.getLogger(__name__)

DISPATCH_SECONDS = 30.0
SHIP_SECONDS = 3.0
STALL_SECONDS = 60.0
RECONCILE_SECONDS = 60.0
USES_SECONDS = 120.0
DENIED_SECONDS = 60.0
PRUNE_SECONDS = 600.0
# A key that is revoked in the warehouse by hand must become invalid within a minute.
KEYS_SECONDS = 25.0
_MAX_PAUSE_SECONDS = 120.0


def list_tasks(services: ApiServices) -> list[Coroutine[Any, Any, None]]:
    """Return the loops of one process; several processes may run them concurrently."""
    return [
        _repeat("start waiting runs", lambda: dispatch_runs(services), every=DISPATCH_SECONDS),
        _repeat("check whether tasks begin", lambda: report_stalls(services), every=STALL_SECONDS),
        _repeat("ship the outbox", lambda: ship_outbox(services), every=SHIP_SECONDS),
        _repeat("reconcile runs", lambda: reconcile_runs(services), every=RECONCILE_SECONDS),
        _repeat("record the uses of keys", lambda: record_key_uses(services), every=USES_SECONDS),
        _repeat(
            "record the denied requests",
            lambda: _run_in_thread(services.denied_requests.flush),
            every=DENIED_SECONDS,
        ),
        _repeat("refresh the API keys", lambda: refresh_keys(services), every=KEYS_SECONDS),
        _repeat("delete old records", lambda: prune_state(services), every=PRUNE_SECONDS),
    ]


async def dispatch_runs(services: ApiServices) -> None:
    """Start the waiting and the due runs of all orgs."""
    dispatcher = Dispatcher(services.store, services.gate, ClientOrchestrator(services))
    # Another API process or the minute task may be dispatching: it starts the same runs.
    with suppress(RequestInFlightError):
        await _run_in_thread(lambda: dispatcher.dispatch_runs(now=datetime.now(UTC)))


async def report_stalls(services: ApiServices) -> None:
    """Notify the platform's recipients that no task begins, once per incident."""
    if (stall := await services.stalls.find_stall()) is not None:
        await _run_in_thread(lambda: _send_report(services, stall))


def _send_report(services: ApiServices, stall: stalls.Stall) -> None:
    from convergence.processors.notify_systems.notifier import Notifier, notifying

    settings = services.settings
    notifier = Notifier(services.store, settings.configs_dir, now=lambda: datetime.now(UTC))
    with notifying(notifier):
        stalls.report_stall(stall, notifier, seconds=settings.platform_stall_seconds)


async def ship_outbox(services: ApiServices) -> None:
    """Ship the outbox's waiting rows to the warehouse."""
    await _run_in_thread(lambda: shipping.ship_outbox(services.store, services.warehouse))


async def record_key_uses(services: ApiServices) -> None:
    """Record when keys were last used, in one statement."""
    if uses := services.authenticator.take_used_keys():
        await _run_in_thread(lambda: keys.record_uses(services.warehouse, uses))


async def refresh_keys(services: ApiServices) -> None:
    """Compare the state store's API keys with the warehouse, in one process at a time."""
    with suppress(RequestInFlightError):
        await _run_in_thread(
            lambda: key_digests.refresh_digests(services.store, services.warehouse)
        )


async def prune_state(services: ApiServices) -> None:
    """Delete expired records from the state store."""
    await _run_in_thread(lambda: retention.prune_store(services.store, now=datetime.now(UTC)))


async def reconcile_runs(services: ApiServices) -> None:
    """Close the live records of runs that Airflow has ended or does not have."""

    def get_airflow_state(dag_id: str, dag_run_id: str) -> str | None:
        run = anyio.from_thread.run(services.airflow.get_run, dag_id, dag_run_id)
        return run.state if run else None

    def close_runs() -> None:
        for run in services.records.close_dangling(get_airflow_state, now=datetime.now(UTC)):
            log.warning("%s was still live and is now %s", run.run_id, run.status)

    await _run_in_thread(close_runs)


async def _run_in_thread(work: Callable[[], object]) -> None:
    """Run in a thread that a shutdown abandons: the next process does the rest."""
    await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


async def _repeat(
    name: str,
    task: Callable[[], Awaitable[None]],
    *,
    every: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Repeat a task for ever; each failure doubles the pause until the task succeeds again."""
    pause = every
    while True:
        await sleep(pause)
        try:
            await task()
            pause = every
        except Exception as error:  # noqa: BLE001 - a task must outlive every failure
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)
            log.warning("could not %s, next try in %.0f s: %s", name, pause, redact(str(error)))
