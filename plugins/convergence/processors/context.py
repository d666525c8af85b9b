"""What a processor is handed: the pipeline's facts, the org of this call, and the rooms below."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convergence.errors import IntegrationInvalidError
from convergence.processors.step_config import Scope
from convergence.settings import Settings

if TYPE_CHECKING:
    from convergence.processors.steplog import StepLog
    from convergence.runs.ledger import Ledger
    from convergence.runs.publisher import Publisher
    from convergence.state.org_steps import OrgStep
    from convergence.state.store import StateStore
    from convergence.warehouse.client import Warehouse

Status = Literal["SUCCESS", "FAILED", "SKIPPED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """What a step may know of its pipeline.

    Attributes:
        pipeline_id: kebab-case name, such as `openai-usage-cost`.
        dag_id: identity, such as `openai.cost.usage_cost`.
        provider: whose integration an org needs; None when it needs none.
        scope: `org` or `platform`.
        history_days: how far before its first connected day an org's first run reaches.
        max_days: most days that one run does for one org.
        settle_days: how long the provider may still change a day.
        tables: day-sliced tables of all steps, in step order.
        upstream: each step's upstream steps.
        params: JSON Schema of the object of params that a run may be given.
    """

    pipeline_id: str
    dag_id: str
    provider: str | None = None
    scope: Scope = "org"
    history_days: int = 30
    max_days: int = 31
    settle_days: int = 3
    tables: tuple[str, ...] = ()
    upstream: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step did for one org, or for the platform: small, and without secrets.

    Attributes:
        status: SKIPPED when there was nothing to do.
        rows_processed: rows extracted or written.
        destination_table: `dataset.table`.
        facts: more names of the answer (`tables_created`, `dataset_id`, …); JSON values only.
    """

    status: Status = "SUCCESS"
    rows_processed: int | None = None
    destination_table: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def answer(self) -> dict[str, Any]:
        """The result as Airflow, the run records and the HTTP API show it."""
        known = {
            "status": self.status,
            "rows_processed": self.rows_processed,
            "destination_table": self.destination_table,
        }
        return {key: value for key, value in known.items() if value is not None} | dict(self.facts)


def _nobodys(_org_slug: str, name: str) -> str:
    raise IntegrationInvalidError("No credential has this name", credential_name=name)


@dataclass(frozen=True, kw_only=True)
class Services:
    """The rooms below, connected; one per task process, shared by its threads."""

    settings: Settings
    warehouse: Warehouse
    store: StateStore
    ledger: Ledger
    publisher: Publisher
    steps: StepLog
    open_credential: Callable[[str, str], str]
    """(org_slug, provider) → the decrypted credential."""
    provider_of_credential: Callable[[str, str], str] = _nobodys
    """(org_slug, the org's own name for a credential) → the provider it is for."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """What every step is handed.

    Attributes:
        pipeline: the pipeline's facts.
        step: the step's name.
        attempt: 1 at the first try of the task, then rising.
        services: the rooms below.
        log: carries the org's slug in every line where the step works for one.
        stop: set when the task is being killed; long loops look at it.
    """

    pipeline: PipelineFacts
    step: str
    attempt: int
    services: Services
    log: logging.Logger | logging.LoggerAdapter[logging.Logger]
    stop: threading.Event

    @property
    def settings(self) -> Settings:
        """The process' settings."""
        return self.services.settings

    @property
    def warehouse(self) -> Warehouse:
        """Our project's warehouse."""
        return self.services.warehouse

    @property
    def store(self) -> StateStore:
        """The transactional store."""
        return self.services.store

    def now(self) -> datetime:
        """The present, UTC."""
        return self.services.now()


@dataclass(frozen=True, kw_only=True)
class OrgContext(StepContext):
    """One org's share of a step.

    Attributes:
        org_slug: the org.
        run_id: its org run.
        days: complete UTC days to do, newest first; empty where the pipeline has no day tables.
        params: what the run was asked for, checked against the pipeline's params.
        previous: what an earlier try recorded for this step of this org run.
        began_at: when the first try of this work began. Automatic retries continue the work; a
            task that a person cleared begins it again.
        resumes: whether this try continues the work of an earlier one.
        cleared: whether this work began because a person cleared the task: the provider is
            called again, whatever earlier tries received.
        deadline: when this try's time is over, by `time.monotonic`.
    """

    org_slug: str
    run_id: str
    days: Sequence[date]
    params: Mapping[str, Any]
    previous: OrgStep | None
    began_at: datetime | None = None
    resumes: bool = False
    cleared: bool = False
    deadline: float = math.inf

    @property
    def ledger(self) -> Ledger:
        """What is published, slice by slice."""
        return self.services.ledger

    @property
    def publisher(self) -> Publisher:
        """The way of a sealed day into its partition."""
        return self.services.publisher

    @property
    def dataset(self) -> str:
        """The org's dataset, such as `acme_corp_dev`."""
        return self.settings.org_dataset(self.org_slug)

    @property
    def spool_dir(self) -> Path:
        """Where this step may keep pages: the same for every try that continues this work."""
        if self.began_at is None:
            return self.spool_root
        return self.spool_root / f"{self.began_at.astimezone(UTC):%Y%m%dT%H%M%S%f}"

    @property
    def spool_root(self) -> Path:
        """The folder of all pages of this step and org run; removed after success."""
        parts = (self.pipeline.dag_id, self.org_slug, self.run_id, self.step)
        return self.settings.var_dir.joinpath("spool", *parts)

    def credential(self, provider: str | None = None) -> str:
        """Decrypt the org's credential in this process; never log it, never hand it on.

        Args:
            provider: a provider id; the pipeline's own when not given.

        Raises:
            IntegrationInvalidError: the org has none for this provider.
            DecryptionError: it does not decrypt.
        """
        wanted = provider or self.pipeline.provider
        if wanted is None:
            raise ValueError(f"{self.pipeline.dag_id} names no provider, so the step must")
        return self.services.open_credential(self.org_slug, wanted)


@dataclass(frozen=True, kw_only=True)
class PlatformContext(StepContext):
    """A platform step's surroundings.

    Attributes:
        dag_run_id: Airflow's id of the run.
    """

    dag_run_id: str
