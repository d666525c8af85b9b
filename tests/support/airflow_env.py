"""The tenants and rooms that tests of whole DAG runs put in the real ones' place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from convergence.processors.context import TaskServices
from convergence.processors.steplog import StepLog
from convergence.runs.eligibility import Eligibility, OrgSelection
from convergence.runs.records import RunRecords
from convergence.settings import Settings
from convergence.state.org_runs import RunError
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore

LIMITS = RunLimits(runs_per_day=10, runs_per_month=100, concurrent_runs=10)


@dataclass
class AirflowEnv:
    """The tenants as the test wants them, and the real state store of the run."""

    store: StateStore
    settings: Settings
    eligible: list[str]
    refused: dict[str, RunError]
    shipped: int = 0

    @property
    def records(self) -> RunRecords:
        return RunRecords(self.store)

    def select_orgs(
        self, *, provider: str | None, now: datetime, org_slugs: Sequence[str] | None = None
    ) -> OrgSelection:
        def named(org: str) -> bool:
            return org_slugs is None or org in org_slugs

        return OrgSelection(
            tuple(
                Eligibility(org, "ACTIVE", connected_on=now.date(), limits=LIMITS)
                for org in self.eligible
                if named(org)
            ),
            tuple((org, why) for org, why in self.refused.items() if named(org)),
        )

    def read_latest(self, **_: Any) -> Mapping[Any, Any]:
        return {}

    def read_ends(self, _: Any, **__: Any) -> Mapping[Any, Any]:
        return {}

    def cancel_jobs(self) -> None:
        pass

    @contextmanager
    def services(self) -> Iterator[TaskServices]:
        outside = cast("Any", self)
        yield TaskServices(
            settings=self.settings,
            warehouse=outside,
            store=self.store,
            ledger=outside,
            publisher=outside,
            steps=StepLog(self.store, self.records),
            open_credential=lambda org, provider: f"{org} at {provider}",
            now=lambda: datetime.now(UTC),
        )

    def ship(self) -> None:
        self.shipped += 1
