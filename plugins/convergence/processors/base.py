"""Operator base classes of all processors.

A processor sets its `Config` model and implements `run_step`. This module and `batch` select the
orgs, skip and record steps, retry failures and build the result.
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
    OrgOutcome,
    StepRun,
    build_run_error,
    is_retryable,
    log_unexpected_error,
)
from convergence.processors.context import (
    OrgContext,
    PipelineInfo,
    PlatformContext,
    StepResult,
    TaskServices,
)
from convergence.processors.step_config import StepConfig
from convergence.run_error_codes import RunErrorCode

if TYPE_CHECKING:
    from airflow.sdk import Context

    from convergence.warehouse.client import Warehouse

ConfigT = TypeVar("ConfigT", bound=StepConfig)


class Processor(BaseOperator, Generic[ConfigT]):
    """Base of org and platform processors.

    Args:
        config: the step's `config:` from YAML; its strings may be Jinja templates.
        pipeline: properties of the pipeline.
    """

    Config: ClassVar[type[StepConfig]]
    template_fields: Collection[str] = ("config",)

    def __init__(self, *, config: Mapping[str, Any], pipeline: PipelineInfo, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.pipeline = pipeline
        self.stop = threading.Event()
        self._warehouse: Warehouse | None = None

    @property
    def step(self) -> str:
        """The name of the step in YAML."""
        return self.task_id.rpartition(".")[2]

    @property
    def operator_name(self) -> str:
        """The operator's name in Airflow's UI: its ps_type."""
        return self.Config.ps_type

    def on_kill(self) -> None:
        """Signal running work to stop and cancel its warehouse jobs."""
        self.stop.set()
        if self._warehouse is not None:
            self._warehouse.cancel_jobs()

    @contextmanager
    def connect_services(self) -> Iterator[TaskServices]:
        """Connect the task's services while the block runs."""
        with connect.open_services() as services:
            self._warehouse = services.warehouse
            try:
                yield services
            finally:
                self._warehouse = None

    def parse_config(self) -> ConfigT:
        """Validate the configuration again after its templates were rendered.

        Raises:
            ConfigurationError: a template rendered to a value that the model does not accept.
        """
        try:
            return self.Config.from_values(self.config)  # type: ignore[return-value]  # it is ConfigT
        except ValidationError as error:
            violations = [
                f"{'.'.join(str(part) for part in violation['loc'])}: {violation['msg']}"
                for violation in error.errors(include_input=False, include_url=False)
            ]
        raise ConfigurationError("The rendered configuration is invalid", errors=violations)

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the task; errors are redacted before they are raised."""
        try:
            return self.run_task(context)
        except AirflowException:
            raise
        except Exception as error:  # noqa: BLE001  # a step may fail in any way
            failure = build_task_failure(error, log=_get_logger(self))
        raise failure

    def run_task(self, context: Context) -> dict[str, Any]:
        """Do the work of the task and return its result."""
        raise NotImplementedError


class OrgProcessor(Processor[ConfigT]):
    """Base of processors that work for one org at a time.

    Args:
        batch: `{"label": …, "runs": [{"org_slug", "run_id", "days"}]}`, one of the batches that
            `select_orgs` returned.
    """

    template_fields: Collection[str] = ("config", "batch")
    derived: ClassVar[bool] = False
    """Whether the step computes from other tables. Such a step is done only while its inputs are
    the same, so a cleared task checks every org again, including those that had succeeded."""

    def __init__(self, *, batch: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(map_index_template="{{ task.batch['label'] }}", **kwargs)
        self.batch = batch

    def run_step(self, org: OrgContext, config: ConfigT) -> StepResult:
        """Run the step for one org; several threads call this method at the same time.

        A second run after a success must change nothing.

        Raises:
            ConvergenceError: a RetryableError is retried; any other error is final for this run.
        """
        raise NotImplementedError

    def run_task(self, context: Context) -> dict[str, Any]:
        """Run the step for every org of this mapped index."""
        ti = context["ti"]
        config = self.parse_config()
        batch = Batch.from_dict(self.batch)
        with self.connect_services() as services:
            outcomes = StepRun(
                step=self.step,
                processor=self.Config.ps_type,
                pipeline=self.pipeline,
                services=services,
                attempt=ti.try_number,
                max_tries=ti.max_tries,
                timeout=self.execution_timeout,
                derived=self.derived,
                run_org=lambda org: self.run_step(org, config),
                stop=self.stop,
                log=_get_logger(self),
            ).run_batch(batch)
        if len(outcomes) == 1:
            return _build_single_result(outcomes[0])
        return _build_batch_result(outcomes, last_try=ti.try_number > ti.max_tries)


class PlatformProcessor(Processor[ConfigT]):
    """Base of processors that run once, for the platform."""

    def run_step(
        self, platform: PlatformContext, config: ConfigT, params: Mapping[str, Any]
    ) -> StepResult:
        """Run the step; a second run after a success must change nothing.

        Args:
            platform: the context, with the connected services.
            config: the step's configuration.
            params: params of the run, checked against the pipeline's params.

        Raises:
            ConvergenceError: a RetryableError is retried; any other error is final for this run.
        """
        raise NotImplementedError

    def run_task(self, context: Context) -> dict[str, Any]:
        """Check the params of the run, then run the step once."""
        dag_run = context["dag_run"]
        params = run_conf.check_params(dag_run.conf or {}, pipeline=self.pipeline)
        with self.connect_services() as services:
            platform = PlatformContext(
                pipeline=self.pipeline,
                step=self.step,
                dag_run_id=dag_run.run_id,
                attempt=context["ti"].try_number,
                services=services,
                log=_get_logger(self),
                stop=self.stop,
            )
            return self.run_step(platform, self.parse_config(), params).to_dict()


def build_task_failure(error: Exception, *, log: logging.Logger) -> AirflowException:
    """Build the redacted Airflow exception for an error; set whether Airflow retries it."""
    log_unexpected_error(error, log)
    run_error = build_run_error(error)
    return _build_exception(f"{run_error.code}: {run_error.message}", retry=is_retryable(error))


def _get_logger(operator: BaseOperator) -> logging.Logger:
    return logging.getLogger(type(operator).__module__)


def _build_single_result(outcome: OrgOutcome) -> dict[str, Any]:
    """Return the result of a batch of one org, or raise its failure.

    Lower content that was refused ends the org run FAILED when the run is closed. The task itself
    succeeds, because Airflow would not start the steps after a failed task.
    """
    refused = outcome.error is not None and outcome.error.code == RunErrorCode.WOULD_SHRINK
    if outcome.failed and outcome.error is not None and not refused:
        message = f"{outcome.org_slug}: {outcome.error.code}: {outcome.error.message}"
        raise _build_exception(message, retry=outcome.retryable)
    return outcome.result.to_dict()


def _build_batch_result(outcomes: Sequence[OrgOutcome], *, last_try: bool) -> dict[str, Any]:
    failed = [outcome for outcome in outcomes if outcome.failed]
    if not last_try and any(outcome.retryable for outcome in failed):
        codes = "; ".join(f"{one.org_slug}: {one.error.code}" for one in failed if one.error)
        raise _build_exception(f"{len(failed)} of {len(outcomes)} orgs failed: {codes}", retry=True)
    return {
        "status": "FAILED" if failed else "SUCCESS",
        "orgs": {outcome.org_slug: outcome.result.to_dict() for outcome in outcomes},
    }


def _build_exception(message: str, *, retry: bool) -> AirflowException:
    return AirflowException(message) if retry else AirflowFailException(message)
