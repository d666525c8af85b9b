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
from convergence.processors.base import failure_of
from convergence.processors.batch import explain, worth_retrying
from convergence.processors.context import PipelineFacts, Services
from convergence.processors.notify_systems.links import base_url
from convergence.processors.notify_systems.notifier import Notifier
from convergence.processors.notify_systems.recipients import admin_emails
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
    """Checks what the run was asked for, asks the gate, and deals the orgs to mapped indexes."""

    ui_color = "#dbeafe"

    def __init__(self, *, pipeline: PipelineFacts, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """The batches that the steps are mapped over."""
        try:
            with connect.services() as services:
                try:
                    return self._select(context, services)
                except Exception as error:
                    self._record(error, context, services)
                    raise
        except Exception as error:  # noqa: BLE001  # every failure leaves here redacted
            context["ti"].xcom_push(key=CAUSE, value=_cause(error))
            failure = failure_of(error, log=log)
        raise failure

    def _select(self, context: Context, services: Services) -> list[dict[str, Any]]:
        dag_run, rooms, provider = context["dag_run"], RunServices(services), self.pipeline.provider
        log.info("provider registry: edition %s", load_registry(services.settings).edition)
        selector = Selector(
            pipeline=self.pipeline,
            provider=connect.table_id(provider) if provider else None,
            gate=rooms.gate,
            ledger=services.ledger,
            runs=rooms,
            dag_run_id=dag_run.run_id,
            scheduled=str(dag_run.run_type) == "scheduled",
            now=services.now(),
        )
        return [batch.dump() for batch in selector.select(dag_run.conf or {})]

    def _record(self, error: Exception, context: Context, services: Services) -> None:
        """End the org runs that this run carries with the cause, unless another try follows."""
        ti, dag_run = context["ti"], context["dag_run"]
        if worth_retrying(error) and ti.try_number <= ti.max_tries:
            return
        rooms = RunServices(services)
        for run in rooms.of_dag_run(self.pipeline.dag_id, dag_run.run_id):
            if run.live:
                rooms.finish_run(
                    run.run_id, RunStatus.FAILED, now=services.now(), error=explain(error)
                )


class CloseRun(BaseOperator):
    """Ends the org runs, ships the records, and fails the run when an org or a step failed."""

    ui_color = "#dcfce7"

    def __init__(
        self, *, pipeline: PipelineFacts, notify: Notify | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pipeline = pipeline
        self.notify = notify or {}

    def execute(self, context: Context) -> dict[str, Any]:
        """The run's summary; kept also when the run fails."""
        try:
            with connect.services() as services:
                rooms = RunServices(services)
                if self.pipeline.scope == "org":
                    summary, error = self._close_orgs(context, rooms, services)
                else:
                    summary, error = self._close_platform(context)
                    self._tell_late(rooms, services)
                if any(self.notify.values()):
                    summary["notifications"] = self._announce(context, rooms, services, error)
                rooms.ship()
        except Exception as problem:  # noqa: BLE001  # every failure leaves here redacted
            failure = failure_of(problem, log=log)
        else:
            if error is None:
                return summary
            context["ti"].xcom_push(key="return_value", value=summary)
            failure = AirflowFailException(redact(str(error)))
        raise failure

    def _close_orgs(
        self, context: Context, rooms: RunServices, services: Services
    ) -> tuple[dict[str, Any], PipelineFailedError | None]:
        selected = context["ti"].xcom_pull(task_ids=SELECT_ORGS) is not None
        summary = close_orgs(
            self.pipeline,
            runs=rooms,
            dag_run_id=context["dag_run"].run_id,
            selected=selected,
            now=services.now(),
        )
        if not selected:
            return summary.answer(), PipelineFailedError(
                f"{SELECT_ORGS} did not succeed: {_cause_in(context)}"
            )
        return summary.answer(), summary.error()

    def _announce(
        self,
        context: Context,
        rooms: RunServices,
        services: Services,
        error: PipelineFailedError | None,
    ) -> dict[str, Any]:
        dag_run_id = context["dag_run"].run_id
        return _announcer(self.pipeline, self.notify, rooms, services).announce(
            dag_run_id=dag_run_id,
            runs=rooms.of_dag_run(self.pipeline.dag_id, dag_run_id),
            failed=_failed(error, why=_cause_in(context)),
        )

    def _tell_late(self, rooms: RunServices, services: Services) -> None:
        """What no run's own last task could tell, each of the platform's does: one a minute."""

        def announcer(spec: PipelineSpec) -> Announcer:
            return _announcer(spec.facts(), spec.notify.channels(), rooms, services)

        MissedNotifications(
            store=services.store,
            configs=services.settings.configs_dir,
            runs_of=rooms.of_dag_run,
            announcer=announcer,
        ).tell()

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


def _announcer(
    pipeline: PipelineFacts, notify: Notify, rooms: RunServices, services: Services
) -> Announcer:
    return Announcer(
        pipeline=pipeline,
        notify=notify,
        notifier=Notifier(services.store, services.settings.configs_dir, services.now),
        ledger=services.ledger,
        steps_of=rooms.steps,
        admins_of=lambda slugs: admin_emails(services.warehouse, slugs),
        base_url=base_url(),
    )


def _cause(error: Exception) -> str:
    """An error as the run's last task shows it; redacted."""
    found = explain(error)
    return f"{found.code}: {found.message}"


def _cause_in(context: Context) -> str:
    """Why the run's first task failed, as it recorded it."""
    found = context["ti"].xcom_pull(task_ids=SELECT_ORGS, key=CAUSE)
    return found if isinstance(found, str) else "its log says why"


def _failed(error: PipelineFailedError | None, *, why: str) -> dict[str, str]:
    """Why a run failed, by org or step."""
    if error is None:
        return {}
    orgs = error.details.get("orgs")
    if isinstance(orgs, Mapping):
        return {str(org): redact(str(why)) for org, why in orgs.items()}
    steps = error.details.get("steps")
    if not isinstance(steps, Sequence):
        return {SELECT_ORGS: f"did not succeed: {why}"}
    return {str(name): "did not succeed; its log says why" for name in steps}
