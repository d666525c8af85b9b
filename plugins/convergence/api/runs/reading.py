"""Reading and cancelling runs: the state store's truth, compared with Airflow while it is open."""

from __future__ import annotations

import base64
import binascii
import logging
from datetime import UTC, datetime, timedelta

from starlette.concurrency import run_in_threadpool

from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.services import ApiServices
from convergence.api.runs.models import (
    RunCost,
    RunDetail,
    RunErrorInfo,
    RunPage,
    RunSummary,
    StepDetail,
)
from convergence.api.runs.outcomes import build_notification, list_quality_results
from convergence.errors import ConflictError, ConvergenceError, NotFoundError
from convergence.metering import add_usage
from convergence.run_error_codes import RunErrorCode
from convergence.runs.records import move_run, record_name
from convergence.runs.run_cost import summarize_cost
from convergence.settings import Environment
from convergence.state import notifications, org_runs, org_steps
from convergence.state.notifications import Notification
from convergence.state.org_runs import OrgRun, RunError, RunPosition, RunStatus
from convergence.state.org_steps import OrgStep
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

log = logging.getLogger(__name__)

# A younger run is still being started by Airflow: its state there says nothing new.
_SETTLE_TIME = timedelta(seconds=5)
# Fields of a step's result that are not part of its report.
_NOT_REPORTED = frozenset({"status", "rows_processed", "destination_table", "quality"})
CANCELLED = RunError(
    RunErrorCode.CANCELLED, "The run was cancelled at the request of its organization."
)


class OrgRuns:
    """The runs of one org."""

    def __init__(self, services: ApiServices, *, org_slug: str, by: Actor, runs_url: str) -> None:
        self._services = services
        self._org = org_slug
        self._by = by
        self._url = runs_url

    def list_page(
        self,
        *,
        limit: int,
        cursor: str | None,
        statuses: list[RunStatus],
        pipeline_id: str | None,
    ) -> RunPage:
        """Return a page of runs, newest first.

        Raises:
            InvalidFieldsError: the cursor is invalid.
        """
        before = _parse_cursor(cursor) if cursor else None
        with self._services.store.read() as conn:
            found = org_runs.list_for_org(
                conn,
                self._org,
                limit=limit + 1,
                before=before,
                statuses=statuses,
                pipeline_id=pipeline_id,
            )
        more = len(found) > limit
        return RunPage(
            runs=[self._build_summary(run) for run in found[:limit]],
            next_cursor=_build_cursor(found[limit - 1]) if more else None,
        )

    async def get_detail(self, run_id: str) -> RunDetail:
        """Return a run with its steps.

        Raises:
            NotFoundError: the org has no run of this id.
        """
        run = await self._get_run(run_id)
        if run.is_live and datetime.now(UTC) - run.created_at > _SETTLE_TIME:
            run = await self._reconcile(run)
        steps = await run_in_threadpool(self._list_steps, run_id)
        sent = await run_in_threadpool(self._list_notifications, run_id)
        summary = self._build_summary(run).model_dump()
        return RunDetail(
            **summary,
            org_slug=run.org_slug,
            params=dict(run.params),
            request_id=run.request_id,
            rows_processed=sum(step.rows_processed or 0 for step in steps),
            tables=sorted({step.destination_table for step in steps if step.destination_table}),
            steps=[_build_step(step) for step in steps],
            cost=RunCost.model_validate(summarize_cost(add_usage(step.used for step in steps))),
            quality=list_quality_results(steps),
            notifications=[build_notification(each) for each in sent],
            links=self._build_links(run),
            airflow_url=self._build_airflow_url(run),
        )

    async def cancel_run(self, run_id: str) -> RunDetail:
        """Cancel a run that the org triggered, or the org's part of any other run.

        Raises:
            NotFoundError: the org has no run of this id.
            ConflictError: the run has ended.
        """
        run = await self._get_run(run_id)
        if not await run_in_threadpool(self._set_cancelled, run_id, now=datetime.now(UTC)):
            ended = await self._get_run(run_id)
            raise ConflictError("The run has already ended.", reason=ended.status.value)
        if run.trigger == "api":
            try:
                await self._services.airflow.stop_run(run.dag_id, run.dag_run_id)
            except ConvergenceError as error:
                # Each step checks the record before it works, so the run ends without Airflow too.
                log.warning("Airflow could not stop %s: %s", run_id, error)
        return await self.get_detail(run_id)

    def _set_cancelled(self, run_id: str, *, now: datetime) -> bool:
        with self._services.store.begin() as conn:
            ended = move_run(conn, run_id, RunStatus.CANCELLED, now=now, error=CANCELLED)
            if ended:
                act = AuditedAction(self._org, self._by, "run.cancel", run_id)
                audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)
            return ended

    async def _get_run(self, run_id: str) -> OrgRun:
        def read_run() -> OrgRun | None:
            with self._services.store.read() as conn:
                return org_runs.get_run(conn, run_id)

        run = await run_in_threadpool(read_run)
        if run is None or run.org_slug != self._org:
            raise NotFoundError("no such run of this org", run_id=run_id[:100])
        return run

    async def _reconcile(self, run: OrgRun) -> OrgRun:
        """Return the run after a comparison with Airflow, which may have ended it."""
        try:
            seen = await self._services.airflow.get_run(run.dag_id, run.dag_run_id)
        except ConvergenceError as error:
            log.warning("%s is shown as recorded, Airflow does not respond: %s", run.run_id, error)
            return run
        if seen is None or not seen.ended:
            return run
        await run_in_threadpool(
            self._services.records.close_dag_run,
            run.dag_id,
            run.dag_run_id,
            now=datetime.now(UTC),
            succeeded=seen.state == "success",
        )
        return await self._get_run(run.run_id)

    def _list_steps(self, run_id: str) -> list[OrgStep]:
        with self._services.store.read() as conn:
            return org_steps.list_for_run(conn, run_id)

    def _list_notifications(self, run_id: str) -> list[Notification]:
        with self._services.store.read() as conn:
            return notifications.list_for_run(conn, run_id, self._org)

    def _build_summary(self, run: OrgRun) -> RunSummary:
        return RunSummary(
            run_id=run.run_id,
            pipeline_id=record_name(run),
            pipeline=run.dag_id.replace(".", "/"),
            status=run.status.value,
            trigger=run.trigger,
            days=sorted(run.days),
            created_at=run.created_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
            error=_build_error(run.error),
            status_url=f"{self._url}/{run.run_id}",
        )

    def _build_links(self, run: OrgRun) -> dict[str, str]:
        links = {"self": f"{self._url}/{run.run_id}", "runs": self._url}
        return links | ({"cancel": f"{self._url}/{run.run_id}/cancel"} if run.is_live else {})

    def _build_airflow_url(self, run: OrgRun) -> str | None:
        settings = self._services.settings
        if settings.environment is not Environment.DEVELOPMENT or not settings.airflow_api_url:
            return None
        base = settings.airflow_api_url.rstrip("/")
        return f"{base}/dags/{run.dag_id}/runs/{run.dag_run_id}"


def _build_step(step: OrgStep) -> StepDetail:
    return StepDetail(
        step=step.step,
        processor=step.processor,
        status=step.status.value,
        attempt=step.attempt,
        started_at=step.started_at,
        ended_at=step.ended_at,
        rows_processed=step.rows_processed,
        destination_table=step.destination_table,
        error=_build_error(step.error),
        report={
            name: value for name, value in (step.result or {}).items() if name not in _NOT_REPORTED
        },
    )


def _build_error(error: RunError | None) -> RunErrorInfo | None:
    return RunErrorInfo(code=error.code, message=error.message) if error else None


def _build_cursor(run: OrgRun) -> str:
    text = f"{run.created_at.isoformat()}|{run.run_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_cursor(cursor: str) -> RunPosition:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, run_id = base64.urlsafe_b64decode(padded).decode().split("|")
        return RunPosition(datetime.fromisoformat(created_at).astimezone(UTC), run_id)
    except (binascii.Error, ValueError, OverflowError):
        message = "must be the `next_cursor` of a page"
        raise InvalidFieldsError([build_field_error("query.cursor", message)]) from None
