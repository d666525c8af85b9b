"""What connecting a provider starts: its defaults, then the organization's history with it.

The registry says which pipelines, in which order. Each becomes an entry of the execution queue
that follows the one before it, so an import is visible, within the plan's and the provider's
limits, and started again by nobody while it waits or works.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from convergence.api.http.models import ImportRun
from convergence.api.http.services import Services
from convergence.api.runs.due_days import due
from convergence.api.schedules.scheduler import MOST_WAITING
from convergence.errors import ConvergenceError, RequestError, RequestInFlightError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.providers.registry import Provider
from convergence.runs.eligibility import Eligibility
from convergence.state import org_runs, pipeline_configs, queue
from convergence.state.leases import hold_lease
from convergence.state.org_runs import LIVE
from convergence.state.queued_run import BACKGROUND, QueuedRun
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

log = logging.getLogger(__name__)

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Part:
    """One pipeline of an import, and in how many runs it is done."""

    spec: PipelineSpec
    debited: bool
    runs: int


@dataclass(frozen=True)
class Imports:
    """Imports of one organization."""

    services: Services
    org_slug: str
    by: Actor

    def queue(self, provider: Provider, *, now: datetime) -> list[ImportRun]:
        """Queue what connecting the provider runs, unless it was imported or is under way.

        Nothing is queued for an org that may not run now; its daily runs make up for it.
        """
        try:
            standing = self.services.gate.require_eligible(
                self.org_slug, provider=provider.table_id, now=now
            )
            with hold_lease(self.services.store, f"imports|{self.org_slug}|{provider.id}"):
                return self._queue(provider, standing, now)
        except RequestInFlightError:
            return []  # another request queues the same
        except RequestError as error:
            log.info("%s imports nothing from %s: %s", self.org_slug, provider.id, error.message)
            return []

    def _queue(self, provider: Provider, standing: Eligibility, now: datetime) -> list[ImportRun]:
        parts = list(self._parts(provider, standing, now))
        # Defaults serve what is imported: with no day due, both were there before.
        if not any(part.spec.tables for part in parts):
            return []
        entries = self._entries(parts, provider, now)
        with self.services.store.begin() as conn:
            if queue.count_waiting(conn, self.org_slug) + len(entries) > MOST_WAITING:
                log.warning("%s has too many runs waiting to import", self.org_slug)
                return []
            for entry in entries:
                queue.add_entry(conn, entry)
                act = AuditedAction(self.org_slug, self.by, "queue.add", entry.queue_id)
                audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)
        addresses = {part.spec.pipeline_id: part.spec.url_path for part in parts}
        return [_told(entry, addresses[entry.pipeline_id]) for entry in entries]

    def _parts(self, provider: Provider, standing: Eligibility, now: datetime) -> Iterator[_Part]:
        for run in provider.on_connect:
            try:
                spec = self.services.catalog.find(run.pipeline)
            except ConvergenceError as error:
                log.warning("on_connect of %s: %s: %s", provider.id, run.pipeline, error)
                continue
            if self._is_busy_or_off(spec, needs=run.needs):
                continue
            days = due(spec, standing, services=self.services, now=now, max_days=10**4)
            runs = -(-len(days) // spec.max_days) if spec.tables else 1
            if runs:
                yield _Part(spec, run.debited, runs)

    def _is_busy_or_off(self, spec: PipelineSpec, *, needs: Sequence[str]) -> bool:
        org, same = self.org_slug, spec.pipeline_id
        with self.services.store.read() as conn:
            config = pipeline_configs.get_config(conn, org, same)
            waits = queue.count_waiting(conn, org, pipeline_id=same)
            works = org_runs.list_for_org(conn, org, limit=1, statuses=LIVE, pipeline_id=same)
        settings = config.params if config else {}
        off = config is not None and not config.enabled
        return bool(waits or works) or off or any(name not in settings for name in needs)

    def _entries(self, parts: list[_Part], provider: Provider, now: datetime) -> list[QueuedRun]:
        """The queue's entries, each after the one before it; what a run does, it finds due then."""
        alone = [
            QueuedRun(
                org_slug=self.org_slug,
                pipeline_id=part.spec.pipeline_id,
                dag_id=part.spec.dag_id,
                provider=provider.table_id,
                requested_by=self.by.id,
                request_id=self.by.request_id,
                debited=part.debited,
                priority=BACKGROUND,
                enqueued_at=now,
            )
            for part in parts
            for _ in range(part.runs)
        ]
        later = [
            replace(entry, follows=before.queue_id, enqueued_at=now + number * _TICK)
            for number, (before, entry) in enumerate(pairwise(alone), start=1)
        ]
        return [*alone[:1], *later]


def _told(entry: QueuedRun, address: str) -> ImportRun:
    return ImportRun(
        queue_id=entry.queue_id,
        pipeline=address,
        pipeline_id=entry.pipeline_id,
        debited=entry.debited,
        follows=entry.follows,
    )
