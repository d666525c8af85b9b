"""Reading and cancelling runs: the state store's truth, compared with Airflow while it is open."""

from __future__ import annotations

import base64
import binascii
import logging
from datetime import UTC, datetime, timedelta

from starlette.concurrency import run_in_threadpool

from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.services import Services
from convergence.api.runs.models import (
    RunCost,
    RunDetail,
    RunFault,
    RunPage,
    RunSummary,
    StepStatus,
)
from convergence.api.runs.outcomes import notification, quality_of
from convergence.errors import ConflictError, ConvergenceError, NotFoundError
from convergence.metering import add_usage
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

# A run younger than this is still on its way through Airflow: asking would tell nothing new.
_SETTLES = timedelta(seconds=5)
# What a step's answer and its status both tell.
_TOLD = frozenset({"status", "rows_processed", "destination_table", "quality"})
CANCELLED = RunError("cancelled", "The run was cancelled at the request of its organization.")


class Runs:
    """One org's runs."""

    def __init__(self, services: Services, *, org_slug: str, by: Actor, runs_url: str) -> None:
        self._services = services
        self._org = org_slug
        self._by = by
        self._url = runs_url

    async def page(
        self,
        *,
        limit: int,
        cursor: str | None,
        statuses: list[RunStatus],
        pipeline_id: str | None,
    ) -> RunPage:
        """A page of runs, newest first."""
        before = _position(cursor) if cursor else None

        def fetch() -> list[OrgRun]:
            with self._services.store.read() as conn:
                return org_runs.list_for_org(
                    conn,
                    self._org,
                    limit=limit + 1,
                    before=before,
                    statuses=statuses,
                    pipeline_id=pipeline_id,
                )

        found = await run_in_threadpool(fetch)
        more = len(found) > limit
        return RunPage(
            runs=[self._summary(run) for run in found[:limit]],
            next_cursor=_cursor(found[limit - 1]) if more else None,
        )

    async def detail(self, run_id: str) -> RunDetail:
        """One run with its steps.

        Raises:
            NotFoundError: there is none of this id, or it is another org's.
        """
        run = await self._own(run_id)
        if run.is_live and datetime.now(UTC) - run.created_at > _SETTLES:
            run = await self._reconciled(run)
        steps = await run_in_threadpool(self._steps, run_id)
        told = await run_in_threadpool(self._told, run_id)
        summary = self._summary(run).model_dump()
        return RunDetail(
            **summary,
            org_slug=run.org_slug,
            params=dict(run.params),
            request_id=run.request_id,
            rows_processed=sum(step.rows_processed or 0 for step in steps),
            tables=sorted({step.destination_table for step in steps if step.destination_table}),
            steps=[_step(step) for step in steps],
            cost=RunCost.model_validate(summarize_cost(add_usage(step.used for step in steps))),
            quality=quality_of(steps),
            notifications=[notification(one) for one in told],
            links=self._links(run),
            airflow_url=self._airflow_url(run),
        )

    async def cancel(self, run_id: str) -> RunDetail:
        """Cancel a run: the whole of one this org triggered, its own part of any other.

        Raises:
            NotFoundError: there is none of this id, or it is another org's.
            ConflictError: it has ended.
        """
        run = await self._own(run_id)
        if not await run_in_threadpool(self._end, run_id, now=datetime.now(UTC)):
            raise ConflictError("The run has ended.", reason=(await self._own(run_id)).status.value)
        if run.trigger == "api":
            try:
                await self._services.airflow.stop(run.dag_id, run.dag_run_id)
            except ConvergenceError as error:
                # Its steps look at the record before they work: it ends there all the same.
                log.warning("Airflow could not stop %s: %s", run_id, error)
        return await self.detail(run_id)

    def _end(self, run_id: str, *, now: datetime) -> bool:
        with self._services.store.begin() as conn:
            ended = move_run(conn, run_id, RunStatus.CANCELLED, now=now, error=CANCELLED)
            if ended:
                act = AuditedAction(self._org, self._by, "run.cancel", run_id)
                audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now)
            return ended

    async def _own(self, run_id: str) -> OrgRun:
        def fetch() -> OrgRun | None:
            with self._services.store.read() as conn:
                return org_runs.get_run(conn, run_id)

        run = await run_in_threadpool(fetch)
        if run is None or run.org_slug != self._org:
            raise NotFoundError("no such run of this org", run_id=run_id[:100])
        return run

    async def _reconciled(self, run: OrgRun) -> OrgRun:
        """The run after comparing it with Airflow, which may have ended it without telling us."""
        try:
            seen = await self._services.airflow.dag_run(run.dag_id, run.dag_run_id)
        except ConvergenceError as error:
            log.warning("%s is told as recorded, Airflow does not answer: %s", run.run_id, error)
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
        return await self._own(run.run_id)

    def _steps(self, run_id: str) -> list[OrgStep]:
        with self._services.store.read() as conn:
            return org_steps.list_for_run(conn, run_id)

    def _told(self, run_id: str) -> list[Notification]:
        with self._services.store.read() as conn:
            return notifications.list_for_run(conn, run_id, self._org)

    def _summary(self, run: OrgRun) -> RunSummary:
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
            error=_fault(run.error),
            status_url=f"{self._url}/{run.run_id}",
        )

    def _links(self, run: OrgRun) -> dict[str, str]:
        links = {"self": f"{self._url}/{run.run_id}", "runs": self._url}
        return links | ({"cancel": f"{self._url}/{run.run_id}/cancel"} if run.is_live else {})

    def _airflow_url(self, run: OrgRun) -> str | None:
        settings = self._services.settings
        if settings.environment is not Environment.DEVELOPMENT or not settings.airflow_api_url:
            return None
        base = settings.airflow_api_url.rstrip("/")
        return f"{base}/dags/{run.dag_id}/runs/{run.dag_run_id}"


def _step(step: OrgStep) -> StepStatus:
    return StepStatus(
        step=step.step,
        processor=step.processor,
        status=step.status.value,
        attempt=step.attempt,
        started_at=step.started_at,
        ended_at=step.ended_at,
        rows_processed=step.rows_processed,
        destination_table=step.destination_table,
        error=_fault(step.error),
        report={name: told for name, told in (step.result or {}).items() if name not in _TOLD},
    )


def _fault(error: RunError | None) -> RunFault | None:
    return RunFault(code=error.code, message=error.message) if error else None


def _cursor(run: OrgRun) -> str:
    text = f"{run.created_at.isoformat()}|{run.run_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str) -> RunPosition:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        created_at, run_id = base64.urlsafe_b64decode(padded).decode().split("|")
        return RunPosition(datetime.fromisoformat(created_at).astimezone(UTC), run_id)
    except (binascii.Error, ValueError, OverflowError):
        told = "is not one that a page has given"
        raise InvalidFieldsError([fault("query.cursor", told)]) from None
