"""A gate and an Airflow for the tests of dispatching, and entries of the queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from convergence.errors import (
    OrchestratorUnavailableError,
    PipelineUnavailableError,
    SubscriptionInactiveError,
)
from convergence.runs.eligibility import Eligibility
from convergence.state import org_runs, pipeline_configs
from convergence.state.org_runs import OrgRun
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import QueuedRun
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


ACME, GLOBEX = "acme_corp", "globex_inc"


DAG, OTHER_DAG = "openai.cost.usage_cost", "anthropic.usage_cost"


LIMITS = RunLimits(runs_per_day=50, runs_per_month=500, concurrent_runs=2)


@dataclass
class FakeGate:
    suspended: set[str] = field(default_factory=set)
    limits: RunLimits = LIMITS

    def require_eligible(
        self, org_slug: str, *, provider: str | None, now: datetime
    ) -> Eligibility:
        if org_slug in self.suspended:
            raise SubscriptionInactiveError("The subscription is SUSPENDED")
        return Eligibility(org_slug=org_slug, org_status="ACTIVE", limits=self.limits)


@dataclass
class FakeAirflow:
    runs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    error: BaseException | None = None
    asked: int = 0
    unready: dict[str, PipelineUnavailableError | OrchestratorUnavailableError] = field(
        default_factory=dict
    )

    def check_readiness(self, dag_id: str) -> PipelineUnavailableError | None:
        found = self.unready.get(dag_id)
        if isinstance(found, OrchestratorUnavailableError):
            raise found
        return found

    def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, Any]) -> None:
        assert dag_id in {DAG, OTHER_DAG}
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.runs.setdefault(dag_run_id, conf)


def add(store: StateStore, org: str = ACME, *, minute: int = 0, **changes: Any) -> QueuedRun:
    at = NOW - timedelta(hours=1) + timedelta(minutes=minute)
    given: dict[str, Any] = {"provider": "OPENAI", "requested_by": "key_1", "enqueued_at": at}
    given |= {"pipeline_id": "openai-usage-cost", "dag_id": DAG}
    entry = QueuedRun(org, **{**given, **changes})
    with store.begin() as conn:
        queue.add_entry(conn, entry)
    return entry


def entry_of(store: StateStore, entry: QueuedRun) -> QueuedRun:
    with store.read() as conn:
        found = queue.get_entry(conn, entry.queue_id)
    assert found is not None
    return found


def run_of(store: StateStore, entry: QueuedRun) -> OrgRun:
    with store.read() as conn:
        run = org_runs.get_run(conn, entry_of(store, entry).run_id or "")
    assert run is not None
    return run


def configure(store: StateStore, *, due_at: datetime | None, **changes: Any) -> None:
    told: dict[str, Any] = {"schedule": "30 4 * * *", "params": {"x": 2}, **changes}
    config = PipelineConfig(
        ACME, "openai-usage-cost", DAG, "OPENAI", NOW, "key_1", next_due_at=due_at, **told
    )
    with store.begin() as conn:
        pipeline_configs.put_config(conn, config)
