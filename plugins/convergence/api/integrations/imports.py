"""Imports after a provider was connected: its defaults, then the organization's history.

The registry lists the pipelines in their order. Each becomes an entry of the execution queue that
follows the previous one, so an import is visible, obeys the limits of the plan and the provider,
and is not started again while it waits or runs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from convergence.api.http.services import ApiServices
from convergence.api.integrations.models import ImportRun
from convergence.api.runs.due_days import list_due_days
from convergence.api.schedules.queueing import MAX_WAITING
from convergence.errors import ConvergenceError, RequestError, RequestInFlightError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.providers.registry import Provider
from convergence.runs.eligibility import Eligibility
from convergence.state import org_runs, pipeline_configs
from convergence.state.leases import hold_lease
from convergence.state.org_runs import LIVE
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import BACKGROUND, QueuedRun
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

log = logging.getLogger(__name__)

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class _ImportPart:
    """One pipeline of an import, and its number of runs."""

    spec: PipelineSpec
    debited: bool
    runs: int


@dataclass(frozen=True)
class Imports:
    """The imports of one organization."""

    services: ApiServices
    org_slug: str
    by: Actor

    def enqueue_runs(self, provider: Provider, *, now: datetime) -> list[ImportRun]:
        """Queue the runs of the provider's import, unless it is complete or in progress.

        Nothing is queued for an org that is not eligible now: its daily runs import the history.
        """
        try:
            eligibility = self.services.gate.require_eligible(
                self.org_slug, provider=provider.table_id, now=now
            )
            with hold_lease(self.services.store, f"imports|{self.org_slug}|{provider.id}"):
                return self._enqueue_parts(provider, eligibility, now)
        except RequestInFlightError:
            return []  # another request is queueing the same import
        except RequestError as error:
            log.info("%s does not import from %s: %s", self.org_slug, provider.id, error.message)
            return []

    def _enqueue_parts(
        self, provider: Provider, eligibility: Eligibility, now: datetime
    ) -> list[ImportRun]:
        parts = list(self._list_parts(provider, eligibility, now))
        # Defaults only serve the imported days: without a due day, both exist already.
        if not any(part.spec.tables for part in parts):
            return []
        entries = self._build_entries(parts, provider, now)
        with self.services.store.begin() as conn:
            if queue.count_waiting(conn, self.org_slug) + len(entries) > MAX_WAITING:
                log.warning("%s has too many runs waiting to import", self.org_slug)
                return []
            for entry in entries:
                queue.add_entry(conn, entry)
                act = AuditedAction(self.org_slug, self.by, "queue.add", entry.queue_id)
                audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)
        paths = {part.spec.pipeline_id: part.spec.url_path for part in parts}
        return [_build_import_run(entry, paths[entry.pipeline_id]) for entry in entries]

    def _list_parts(
        self, provider: Provider, eligibility: Eligibility, now: datetime
    ) -> Iterator[_ImportPart]:
        for run in provider.on_connect:
            try:
                spec = self.services.catalog.find_pipeline(run.pipeline)
            except ConvergenceError as error:
                log.warning("on_connect of %s: %s: %s", provider.id, run.pipeline, error)
                continue
            if self._is_busy_or_disabled(spec, needs=run.needs):
                continue
            days = list_due_days(spec, eligibility, services=self.services, now=now, max_days=10**4)
            runs = -(-len(days) // spec.max_days) if spec.tables else 1
            if runs:
                yield _ImportPart(spec, run.debited, runs)

    def _is_busy_or_disabled(self, spec: PipelineSpec, *, needs: Sequence[str]) -> bool:
        org, same = self.org_slug, spec.pipeline_id
        with self.services.store.read() as conn:
            config = pipeline_configs.get_config(conn, org, same)
            waiting = queue.count_waiting(conn, org, pipeline_id=same)
            live = org_runs.list_for_org(conn, org, limit=1, statuses=LIVE, pipeline_id=same)
        settings = config.params if config else {}
        disabled = config is not None and not config.enabled
        return bool(waiting or live) or disabled or any(name not in settings for name in needs)

    def _build_entries(
        self, parts: list[_ImportPart], provider: Provider, now: datetime
    ) -> list[QueuedRun]:
        """Return the queue entries, each following the previous one.

        The days of a run are those that are due when it starts.
        """
        entries = [
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
            for number, (before, entry) in enumerate(pairwise(entries), start=1)
        ]
        return [*entries[:1], *later]


def _build_import_run(entry: QueuedRun, path: str) -> ImportRun:
    return ImportRun(
        queue_id=entry.queue_id,
        pipeline=path,
        pipeline_id=entry.pipeline_id,
        debited=entry.debited,
        follows=entry.follows,
    )
