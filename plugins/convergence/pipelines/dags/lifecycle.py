"""The first and the last task of a run: thin operators over `selection` and `closing`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from convergence.errors import PipelineFailedError
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.running.announcements import Announcer, Notify
from convergence.pipelines.running.closing import close_orgs
from convergence.pipelines.running.missed_notifications import MissedNotifications
from convergence.pipelines.running.run_services import RunServices
from convergence.pipelines.running.selection import Selector
from convergence.processors import connect
from convergence.processors.base import build_task_failure
from convergence.processors.batch import build_run_error, is_retryable
from convergence.processors.context import PipelineInfo, TaskServices
from convergence.processors.notify_systems.links import base_url
from convergence.processors.notify_systems.notifier import Notifier
from convergence.processors.notify_systems.recipients import admin_emails
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import load_registry
from convergence.security.redaction import redact
from convergence.state.org_runs import RunStatus

if TYPE_CHECKING:
    from airflow.sdk import Context

SELECT_ORGS = "select_orgs"
CLOSE_RUN = "close_run"
CAUSE = "cause"

log = logging.getLogger(__name__)


class SelectOrgs(BaseOperator):
    """Check the params of the run, select the eligible orgs, and split them into batches."""

    ui_color = "#dbeafe"

    def __init__(self, *, pipeline: PipelineInfo, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return the batches that the steps are mapped over."""
        try:
            with connect.open_services() as services:
                try:
                    return self._select(context, services)
                except Exception as error:
                    self._record_failure(error, context, services)
                    raise
        except Exception as error:  # noqa: BLE001  # every failure leaves here redacted
            context["ti"].xcom_push(key=CAUSE, value=_describe_cause(error))
            failure = build_task_failure(error, log=log)
        raise failure

    def _select(self, context: Context, services: TaskServices) -> list[dict[str, Any]]:
        dag_run, runs, provider = context["dag_run"], RunServices(services), self.pipeline.provider
        registry = load_registry(services.settings)
        log.info("provider registry: edition %s", registry.edition)
        selector = Selector(
            pipeline=self.pipeline,
            provider=connect.find_table_id(provider) if provider else None,
            gate=runs.gate,
            ledger=services.ledger,
            runs=runs,
            dag_run_id=dag_run.run_id,
            scheduled=str(dag_run.run_type) == "scheduled",
            now=services.now(),
            streams=list_streams(registry),
        )
        return [batch.to_dict() for batch in selector.select(dag_run.conf or {})]

    def _record_failure(self, error: Exception, context: Context, services: TaskServices) -> None:
        """End the org runs of this run with the cause, unless a retry follows."""
        ti, dag_run = context["ti"], context["dag_run"]
        if is_retryable(error) and ti.try_number <= ti.max_tries:
            return
        runs = RunServices(services)
        for run in runs.of_dag_run(self.pipeline.dag_id, dag_run.run_id):
            if run.is_live:
                runs.finish_run(
                    run.run_id, RunStatus.FAILED, now=services.now(), error=build_run_error(error)
                )


class CloseRun(BaseOperator):
    """End the org runs, ship the records, and fail the run if an org or a step failed."""

    ui_color = "#dcfce7"

    def __init__(
        self, *, pipeline: PipelineInfo, notify: Notify | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.notify = notify or {}

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the summary of the run; a failed run keeps it as an XCom too."""
        try:
            with connect.open_services() as services:
                runs = RunServices(services)
                if self.pipeline.scope == "org":
                    summary, error = self._close_orgs(context, runs, services)
                else:
                    summary, error = self._close_platform(context)
                    self._send_missed_notifications(runs, services)
                if any(self.notify.values()):
                    summary["notifications"] = self._announce_run(context, runs, services, error)
                runs.ship_records()
        except Exception as problem:  # noqa: BLE001  # every failure leaves here redacted
            failure = build_task_failure(problem, log=log)
        else:
            if error is None:
                return summary
            context["ti"].xcom_push(key="return_value", value=summary)
            failure = AirflowFailException(redact(str(error)))
        raise failure

    def _close_orgs(
        self, context: Context, runs: RunServices, services: TaskServices
    ) -> tuple[dict[str, Any], PipelineFailedError | None]:
        selected = context["ti"].xcom_pull(task_ids=SELECT_ORGS) is not None
        summary = close_orgs(
            self.pipeline,
            runs=runs,
            dag_run_id=context["dag_run"].run_id,
            selected=selected,
            now=services.now(),
        )
        if not selected:
            return summary.to_result(), PipelineFailedError(
                f"{SELECT_ORGS} did not succeed: {_read_cause(context)}"
            )
        return summary.to_result(), summary.build_error()

    def _announce_run(
        self,
        context: Context,
        runs: RunServices,
        services: TaskServices,
        error: PipelineFailedError | None,
    ) -> dict[str, Any]:
        dag_run_id = context["dag_run"].run_id
        return _build_announcer(self.pipeline, self.notify, runs, services).announce_run(
            dag_run_id=dag_run_id,
            runs=runs.of_dag_run(self.pipeline.dag_id, dag_run_id),
            failed=_list_failures(error, cause=_read_cause(context)),
        )

    def _send_missed_notifications(self, runs: RunServices, services: TaskServices) -> None:
        """Announce runs whose last task never ran; `system.tick` comes here every minute."""

        def build_announcer(spec: PipelineSpec) -> Announcer:
            return _build_announcer(spec.build_info(), spec.notify.channels(), runs, services)

        MissedNotifications(
            store=services.store,
            configs=services.settings.configs_dir,
            runs_of=runs.of_dag_run,
            build_announcer=build_announcer,
        ).send_some()

    def _close_platform(
        self, context: Context
    ) -> tuple[dict[str, Any], PipelineFailedError | None]:
        pulled = {name: context["ti"].xcom_pull(task_ids=name) for name in self.pipeline.upstream}
        results: dict[str, Mapping[str, Any]] = {
            name: result for name, result in pulled.items() if isinstance(result, Mapping)
        }
        failed = [
            name
            for name in self.pipeline.upstream
            if name not in results or results[name].get("status") == "FAILED"
        ]
        summary = {"status": "FAILED" if failed else "SUCCESS", "steps": results}
        return summary, PipelineFailedError("Steps failed", steps=failed) if failed else None


def _build_announcer(
    pipeline: PipelineInfo, notify: Notify, runs: RunServices, services: TaskServices
) -> Announcer:
    return Announcer(
        pipeline=pipeline,
        notify=notify,
        notifier=Notifier(services.store, services.settings.configs_dir, services.now),
        ledger=services.ledger,
        steps_of=runs.list_steps,
        admins_of=lambda slugs: admin_emails(services.warehouse, slugs),
        base_url=base_url(),
    )


def _describe_cause(error: Exception) -> str:
    """Return the code and the redacted message of an error, for the last task of the run."""
    found = build_run_error(error)
    return f"{found.code}: {found.message}"


def _read_cause(context: Context) -> str:
    """Return the cause that the first task of the run recorded when it failed."""
    found = context["ti"].xcom_pull(task_ids=SELECT_ORGS, key=CAUSE)
    return found if isinstance(found, str) else "see the log of the task"


def _list_failures(error: PipelineFailedError | None, *, cause: str) -> dict[str, str]:
    """Return the reasons of a failed run, by org or step."""
    if error is None:
        return {}
    orgs = error.details.get("orgs")
    if isinstance(orgs, Mapping):
        return {str(org): redact(str(why)) for org, why in orgs.items()}
    steps = error.details.get("steps")
    if not isinstance(steps, Sequence):
        return {SELECT_ORGS: f"did not succeed: {cause}"}
    return {str(name): "did not succeed; see its log" for name in steps}
