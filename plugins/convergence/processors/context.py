"""Contexts and results of a processor: its pipeline, the org it works for, and task services."""

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
class PipelineInfo:
    """Properties of a pipeline that its steps may read.

    Attributes:
        pipeline_id: kebab-case name, such as `openai-usage-cost`.
        dag_id: DAG id, such as `openai.cost.usage_cost`.
        provider: provider whose integration an org needs; None when the pipeline needs none.
        scope: `org` or `platform`.
        history_days: days before its first connected day that an org's first run covers.
        max_days: maximum number of days that one run processes for one org.
        settle_days: number of days in which the provider may still change a day.
        tables: day-sliced tables of all steps, in step order.
        upstream: each step's upstream steps.
        params: JSON Schema of the params object that a run accepts.
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
    """Result of a step for one org, or for the platform: small, and without secrets.

    Attributes:
        status: SKIPPED when there was nothing to do.
        rows_processed: rows extracted or written.
        destination_table: `dataset.table`.
        details: further keys of the result (`tables_created`, `dataset_id`, …); JSON values only.
    """

    status: Status = "SUCCESS"
    rows_processed: int | None = None
    destination_table: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as Airflow, the run records and the HTTP API show it."""
        known = {
            "status": self.status,
            "rows_processed": self.rows_processed,
            "destination_table": self.destination_table,
        }
        return {key: value for key, value in known.items() if value is not None} | dict(
            self.details
        )


def _raise_unknown_credential(_org_slug: str, name: str) -> str:
    raise IntegrationInvalidError("No credential has this name", credential_name=name)


@dataclass(frozen=True, kw_only=True)
class TaskServices:
    """Connected services of one task process, shared by its threads."""

    settings: Settings
    warehouse: Warehouse
    store: StateStore
    ledger: Ledger
    publisher: Publisher
    steps: StepLog
    open_credential: Callable[[str, str], str]
    """(org_slug, provider) → the decrypted credential."""
    provider_of_credential: Callable[[str, str], str] = _raise_unknown_credential
    """(org_slug, credential name chosen by the org) → the provider of the credential."""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """Context of every step.

    Attributes:
        pipeline: properties of the pipeline.
        step: the step's name.
        attempt: try number of the task, from 1.
        services: connected services of the task.
        log: adds the org's slug to each line where the step works for an org.
        stop: set when the task is being killed; long loops check it.
    """

    pipeline: PipelineInfo
    step: str
    attempt: int
    services: TaskServices
    log: logging.Logger | logging.LoggerAdapter[logging.Logger]
    stop: threading.Event

    @property
    def settings(self) -> Settings:
        """The settings of the process."""
        return self.services.settings

    @property
    def warehouse(self) -> Warehouse:
        """The warehouse of our project."""
        return self.services.warehouse

    @property
    def store(self) -> StateStore:
        """The transactional state store."""
        return self.services.store

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return self.services.now()


@dataclass(frozen=True, kw_only=True)
class OrgContext(StepContext):
    """Context of a step for one org.

    Attributes:
        org_slug: the org.
        run_id: its org run.
        days: complete UTC days to process, newest first; empty where the pipeline has no table
            with days.
        params: params of the run, checked against the pipeline's params.
        previous: record of an earlier try of this step of this org run.
        began_at: start of the first try of this work. Automatic retries continue the work; a
            task that a person cleared starts it again.
        resumes: whether this try continues the work of an earlier one.
        cleared: whether this work started because a person cleared the task: the provider is
            called again even for what earlier tries received.
        deadline: time limit of this try, on the clock of `time.monotonic`.
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
        """The record of what is published, slice by slice."""
        return self.services.ledger

    @property
    def publisher(self) -> Publisher:
        """The publisher of day files and queries into partitions."""
        return self.services.publisher

    @property
    def dataset(self) -> str:
        """The org's dataset, such as `acme_corp_dev`."""
        return self.settings.org_dataset(self.org_slug)

    @property
    def spool_dir(self) -> Path:
        """The folder for pages, shared by all tries that continue this work."""
        if self.began_at is None:
            return self.spool_root
        return self.spool_root / f"{self.began_at.astimezone(UTC):%Y%m%dT%H%M%S%f}"

    @property
    def spool_root(self) -> Path:
        """The folder of all pages of this step and org run; it is removed after success."""
        parts = (self.pipeline.dag_id, self.org_slug, self.run_id, self.step)
        return self.settings.var_dir.joinpath("spool", *parts)

    def credential(self, provider: str | None = None) -> str:
        """Decrypt the org's credential; never log it and never pass it to another process.

        Args:
            provider: a provider id; the pipeline's provider by default.

        Raises:
            IntegrationInvalidError: the org has none for this provider.
            DecryptionError: it does not decrypt.
        """
        provider_id = provider or self.pipeline.provider
        if provider_id is None:
            raise ValueError(f"{self.pipeline.dag_id} has no provider; pass one to credential()")
        return self.services.open_credential(self.org_slug, provider_id)


@dataclass(frozen=True, kw_only=True)
class PlatformContext(StepContext):
    """Context of a platform step.

    Attributes:
        dag_run_id: Airflow's run id.
    """

    dag_run_id: str
