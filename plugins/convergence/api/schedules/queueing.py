"""The execution queue of an organization: adding an entry and listing entries."""

from __future__ import annotations

from collections.abc import Sequence

from convergence.api.http.services import ApiServices
from convergence.api.schedules.models import QueueEntry
from convergence.errors import LimitError
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import QueuedRun, QueueStatus
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

MAX_WAITING = 100


def enqueue_entry(services: ApiServices, entry: QueuedRun, *, by: Actor) -> None:
    """Add an entry to the queue, with its audit row.

    Raises:
        LimitError: too many runs of the org are waiting already.
    """
    # One transaction: without it, concurrent requests could exceed the maximum, and a crash could
    # leave an entry without its audit row.
    with services.store.begin() as conn:
        waiting = queue.count_waiting(conn, entry.org_slug)
        if waiting >= MAX_WAITING:
            raise LimitError(
                f"The organization has {waiting} waiting runs; at most {MAX_WAITING} may wait.",
                limit="queued_runs",
                maximum=MAX_WAITING,
                used=waiting,
                retry_after=60,
            )
        queue.add_entry(conn, entry)
        act = AuditedAction(entry.org_slug, by, "queue.add", entry.queue_id)
        audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=entry.enqueued_at)


def list_entries(
    services: ApiServices,
    org_slug: str,
    *,
    statuses: Sequence[QueueStatus] = (),
    limit: int = 200,
) -> list[QueueEntry]:
    """Return the org's entries, newest first."""
    with services.store.read() as conn:
        found = queue.list_for_org(conn, org_slug, statuses=statuses, limit=limit)
    return [_build_entry(entry) for entry in found]


def _build_entry(entry: QueuedRun) -> QueueEntry:
    return QueueEntry(**{name: getattr(entry, name) for name in QueueEntry.model_fields})
