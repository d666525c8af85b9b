"""The operators that every processor is: what they share, so that a processor is only its work.

A processor says its `Config` model and implements `run`. Everything else (who runs, in which
order, what is skipped, recorded, retried and answered) is here and in `batch`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from pydantic import ValidationError

from convergence.errors import ConfigurationError
from convergence.processors import connect, run_conf
from convergence.processors.batch import (
    Batch,
    Outcome,
    StepRun,
    explain,
    log_unforeseen,
    worth_retrying,
)
from convergence.processors.context import (
    OrgContext,
    PipelineFacts,
    PlatformContext,
    Services,
    StepResult,
)
from convergence.processors.step_config import StepConfig

if TYPE_CHECKING:
    from airflow.sdk import Context

    from convergence.warehouse.client import Warehouse

ConfigT = TypeVar("ConfigT", bound=StepConfig)


class Processor(BaseOperator, Generic[ConfigT]):
    """What org and platform processors share.

    Args:
        config: the step's `config:` as the author wrote it; its strings may be Jinja templates.
        pipeline: what the step may know of its pipeline.
    """

    Config: ClassVar[type[StepConfig]]
    template_fields: Collection[str] = ("config",)

    def __init__(
        self, *, config: Mapping[str, Any], pipeline: PipelineFacts, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.pipeline = pipeline
        self.stop = threading.Event()
        self._warehouse: Warehouse | None = None

    @property
    def step(self) -> str:
        """The step's name in YAML."""
        return self.task_id.rpartition(".")[2]

    @property
    def operator_name(self) -> str:
        """What Airflow's UI calls the operator: its ps_type."""
        return self.Config.ps_type

    def on_kill(self) -> None:
        """Let running work know that nobody waits for it, and cancel its warehouse jobs."""
        self.stop.set()
        if self._warehouse is not None:
            self._warehouse.cancel_jobs()

    @contextmanager
    def connected(self) -> Iterator[Services]:
        """The rooms below, for as long as the step works."""
        with connect.services() as services:
            self._warehouse = services.warehouse
            try:
                yield services
            finally:
                self._warehouse = None

    def parsed(self) -> ConfigT:
        """The configuration, validated again after its templates were rendered.

        Raises:
            ConfigurationError: a template rendered to something the model refuses.
        """
        try:
            return self.Config.parse(self.config)  # type: ignore[return-value]  # it is ConfigT
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False)
            ]
        raise ConfigurationError("The rendered configuration is wrong", errors=faults)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step; whatever goes wrong leaves here redacted."""
        try:
            return self.work(context)
        except AirflowException:
            raise
        except Exception as error:  # noqa: BLE001  # a step may fail in any way
            failure = failure_of(error, log=_log_of(self))
        raise failure

    def work(self, context: Context) -> dict[str, Any]:
        """What the task does, and its answer."""
        raise NotImplementedError


class OrgProcessor(Processor[ConfigT]):
    """A processor that works for one org at a time.

    Args:
        batch: `{"label": …, "runs": [{"org_slug", "run_id", "days"}]}`, one of those that
            `select_orgs` returned.
    """

    template_fields: Collection[str] = ("config", "batch")
    derived: ClassVar[bool] = False
    """Whether the step computes from other tables: only equal inputs make it done, so a cleared
    task looks at every org again, also at those that had succeeded."""

    def __init__(self, *, batch: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(map_index_template="{{ task.batch['label'] }}", **kwargs)
        self.batch = batch

    def run(self, org: OrgContext, config: ConfigT) -> StepResult:
        """Do the step for one org; called from several threads at once.

        Doing it again after success must change nothing.

        Raises:
            ConvergenceError: a RetryableError is tried again, any other is final for this run.
        """
        raise NotImplementedError

    def work(self, context: Context) -> dict[str, Any]:
        """Run the step for every org of this mapped index."""
        ti = context["ti"]
        config = self.parsed()
        batch = Batch.load(self.batch)
        with self.connected() as services:
            outcomes = StepRun(
                step=self.step,
                processor=self.Config.ps_type,
                pipeline=self.pipeline,
                services=services,
                attempt=ti.try_number,
                max_tries=ti.max_tries,
                timeout=self.execution_timeout,
                derived=self.derived,
                work=lambda org: self.run(org, config),
                stop=self.stop,
                log=_log_of(self),
            ).run(batch)
        if len(outcomes) == 1:
            return _single(outcomes[0])
        return _several(outcomes, last_try=ti.try_number > ti.max_tries)


class PlatformProcessor(Processor[ConfigT]):
    """A processor that runs once, for the platform."""

    def run(
        self, platform: PlatformContext, config: ConfigT, params: Mapping[str, Any]
    ) -> StepResult:
        """Do the step; doing it again after success must change nothing.

        Args:
            platform: the rooms below.
            config: the step's configuration.
            params: what the run was asked for, checked against the pipeline's params.

        Raises:
            ConvergenceError: a RetryableError is tried again, any other is final for this run.
        """
        raise NotImplementedError

    def work(self, context: Context) -> dict[str, Any]:
        """Check what the run was asked for, then run the step once."""
        dag_run = context["dag_run"]
        params = run_conf.check(dag_run.conf or {}, pipeline=self.pipeline)
        with self.connected() as services:
            platform = PlatformContext(
                pipeline=self.pipeline,
                step=self.step,
                dag_run_id=dag_run.run_id,
                attempt=context["ti"].try_number,
                services=services,
                log=_log_of(self),
                stop=self.stop,
            )
            return self.run(platform, self.parsed(), params).answer()


def failure_of(error: Exception, *, log: logging.Logger) -> AirflowException:
    """What a task raises for an error: redacted, and retried only where that may help."""
    log_unforeseen(error, log)
    told = explain(error)
    return _failure(f"{told.code}: {told.message}", retry=worth_retrying(error))


def _log_of(operator: BaseOperator) -> logging.Logger:
    return logging.getLogger(type(operator).__module__)


def _single(outcome: Outcome) -> dict[str, Any]:
    if outcome.failed and outcome.error is not None:
        told = f"{outcome.org_slug}: {outcome.error.code}: {outcome.error.message}"
        raise _failure(told, retry=outcome.worth_retrying)
    return outcome.result.answer()


def _several(outcomes: Sequence[Outcome], *, last_try: bool) -> dict[str, Any]:
    failed = [outcome for outcome in outcomes if outcome.failed]
    if not last_try and any(outcome.worth_retrying for outcome in failed):
        told = "; ".join(f"{one.org_slug}: {one.error.code}" for one in failed if one.error)
        raise _failure(f"{len(failed)} of {len(outcomes)} orgs failed: {told}", retry=True)
    return {
        "status": "FAILED" if failed else "SUCCESS",
        "orgs": {outcome.org_slug: outcome.result.answer() for outcome in outcomes},
    }


def _failure(message: str, *, retry: bool) -> AirflowException:
    return AirflowException(message) if retry else AirflowFailException(message)
