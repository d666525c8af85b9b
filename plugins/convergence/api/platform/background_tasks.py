"""What an API process does beside answering.

It starts what waits in the queue or is due, ends runs that nobody ended, ships the outbox, reports
that no task begins, writes down which keys were used and how often callers were refused, and
forgets what is old. The minute task (`system.tick`) does the first three too, but needs a slot of
Airflow's executor and a worker; an API process needs neither.
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
from convergence.api.http.services import Services
from convergence.api.schedules.scheduler import ClientOrchestrator
from convergence.errors import RequestInFlightError
from convergence.runs.dispatch import Dispatcher
from convergence.security.redaction import redact
from convergence.state import retention
from convergence.tenants import key_digests, keys, shipping

log = logging.getLogger(__name__)

DISPATCH_SECONDS = 30.0
SHIP_SECONDS = 3.0
STALL_SECONDS = 60.0
RECONCILE_SECONDS = 60.0
USES_SECONDS = 120.0
REFUSALS_SECONDS = 60.0
FORGET_SECONDS = 600.0
# A key revoked in the warehouse by hand must be dead within a minute.
KEYS_SECONDS = 25.0
_SLOWEST_SECONDS = 120.0


def all_of(services: Services) -> list[Coroutine[Any, Any, None]]:
    """The loops of one process; several processes may run them beside each other."""
    return [
        _repeat("start what waits", lambda: dispatch(services), every=DISPATCH_SECONDS),
        _repeat("look whether tasks begin", lambda: watch(services), every=STALL_SECONDS),
        _repeat("ship the outbox", lambda: ship(services), every=SHIP_SECONDS),
        _repeat("reconcile runs", lambda: reconcile(services), every=RECONCILE_SECONDS),
        _repeat("record the keys used", lambda: record_uses(services), every=USES_SECONDS),
        _repeat(
            "count the refusals", lambda: _aside(services.refusals.flush), every=REFUSALS_SECONDS
        ),
        _repeat("refresh the API keys", lambda: refresh_keys(services), every=KEYS_SECONDS),
        _repeat("forget what is old", lambda: forget(services), every=FORGET_SECONDS),
    ]


async def dispatch(services: Services) -> None:
    """Start the runs of all orgs that wait for a slot or are due."""
    dispatcher = Dispatcher(services.store, services.gate, ClientOrchestrator(services))
    # Another API process or the minute task may be at it, and does the same.
    with suppress(RequestInFlightError):
        await _aside(lambda: dispatcher.dispatch_runs(now=datetime.now(UTC)))


async def watch(services: Services) -> None:
    """Report to the platform's recipients that no task begins, once per incident."""
    if (stall := await services.stalls.look()) is not None:
        await _aside(lambda: _report(services, stall))


def _report(services: Services, stall: stalls.Stall) -> None:
    from convergence.processors.notify_systems.notifier import Notifier, notifying

    settings = services.settings
    notifier = Notifier(services.store, settings.configs_dir, now=lambda: datetime.now(UTC))
    with notifying(notifier):
        stalls.report(stall, notifier, seconds=settings.platform_stall_seconds)


async def ship(services: Services) -> None:
    """Send the outbox's waiting rows to the warehouse."""
    await _aside(lambda: shipping.ship_outbox(services.store, services.warehouse))


async def record_uses(services: Services) -> None:
    """Write down when keys were last used: one statement for all of them."""
    if uses := services.authenticator.take_used_keys():
        await _aside(lambda: keys.record_uses(services.warehouse, uses))


async def refresh_keys(services: Services) -> None:
    """Compare the state store's API keys with the warehouse; one process at a time does."""
    with suppress(RequestInFlightError):
        await _aside(lambda: key_digests.refresh_digests(services.store, services.warehouse))


async def forget(services: Services) -> None:
    """Delete what the state store need not remember any longer."""
    await _aside(lambda: retention.prune_store(services.store, now=datetime.now(UTC)))


async def reconcile(services: Services) -> None:
    """End the runs whose Airflow run has ended, or never was, without their record knowing."""

    def state_of(dag_id: str, dag_run_id: str) -> str | None:
        run = anyio.from_thread.run(services.airflow.dag_run, dag_id, dag_run_id)
        return run.state if run else None

    def close() -> None:
        for run in services.records.close_dangling(state_of, now=datetime.now(UTC)):
            log.warning("%s was left open and is now %s", run.run_id, run.status)

    await _aside(close)


async def _aside(work: Callable[[], object]) -> None:
    """Work in a thread that a shutdown does not wait for: what it leaves is done by the next."""
    await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


async def _repeat(
    name: str,
    chore: Callable[[], Awaitable[None]],
    *,
    every: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Do a chore for ever; when it fails, less and less often until it succeeds again."""
    pause = every
    while True:
        await sleep(pause)
        try:
            await chore()
            pause = every
        except Exception as error:  # noqa: BLE001 - a chore must outlive whatever it meets
            pause = min(pause * 2, _SLOWEST_SECONDS)
            log.warning("could not %s, next try in %.0f s: %s", name, pause, redact(str(error)))
