"""From the records of a run to what its messages say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from convergence.processors.context import PipelineInfo
from convergence.processors.notify_systems.channels import Trigger, Words
from convergence.processors.notify_systems.messages import FleetReport, OrgReport, TableTotal
from convergence.runs.log_rows import record_name
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

if TYPE_CHECKING:
    from convergence.runs.ledger import LedgerRow

FAILED: Final = "failed"
SUCCEEDED: Final = "succeeded"
CANCELLED: Final = "cancelled"
IDLE: Final = "idle"
MAX_FAILED_SHOWN: Final = 50
_MAX_WARNINGS = 10

_HEARS: Mapping[Trigger, Collection[str]] = {
    "on_failure": (FAILED,),
    "on_success": (SUCCEEDED,),
    "on_completion": (FAILED, SUCCEEDED, CANCELLED),
    "always": (FAILED, SUCCEEDED, CANCELLED, IDLE),
}
PLATFORM: Final = "~platform"
"""Stands for an org where a message is about a whole run."""


def hears(trigger: Trigger, event: str) -> bool:
    """Return whether a trigger covers runs with this event."""
    return event in _HEARS[trigger]


def ended_as(run: OrgRun, pipeline: PipelineInfo) -> str:
    """Return the event of an ended run."""
    if run.status is RunStatus.CANCELLED:
        return CANCELLED
    if run.status is RunStatus.FAILED:
        return FAILED
    return IDLE if pipeline.tables and not run.days else SUCCEEDED


def stands_at(run: OrgRun, steps: Mapping[str, OrgStep], pipeline: PipelineInfo) -> str:
    """Return the event of an active run, from its steps so far."""
    if any(step.status is StepStatus.FAILED for step in steps.values()):
        return FAILED
    return IDLE if pipeline.tables and not run.days else SUCCEEDED


def org_report(
    run: OrgRun,
    *,
    event: str,
    steps: Iterable[OrgStep],
    slices: Iterable[LedgerRow],
    words: Words,
    base_url: str,
) -> OrgReport:
    """Build the report of one org's run.

    Args:
        run: its current record.
        event: how it ended, or its state so far.
        steps: the newest attempts.
        slices: the ledger's newest rows of the org and pipeline; those of other runs are left out.
        words: reasons and links.
        base_url: where customers reach the API, unless the words say it.
    """
    step_list = list(steps)
    link = words.run_link.format(
        base_url=words.base_url or base_url, org_slug=run.org_slug, run_id=run.run_id
    )
    error = run.error if event == FAILED else None
    return OrgReport(
        org_slug=run.org_slug,
        pipeline=_address(run.dag_id),
        pipeline_id=record_name(run),
        run_id=run.run_id,
        event=event,
        days=tuple(sorted(run.days)),
        rows=sum(step.rows_processed or 0 for step in step_list),
        totals=totals(row for row in slices if row.run_id == run.run_id),
        reason=_reason(error, words),
        error=error.message if error else "",
        warnings=tuple(_warnings(step_list))[:_MAX_WARNINGS],
        link=link,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )


def fleet_report(
    pipeline: PipelineInfo,
    *,
    dag_run_id: str,
    event: str,
    reports: Sequence[OrgReport],
    counted: Sequence[str],
    failed: Mapping[str, str],
    words: Words,
    base_url: str,
) -> FleetReport:
    """Build the report of a whole run, for the platform.

    Args:
        pipeline: its description.
        dag_run_id: Airflow's id of the run.
        event: how it ended.
        reports: those of its orgs.
        counted: how each of its orgs ended.
        failed: why, by org or step.
        words: links.
        base_url: as for `org_report`.
    """
    return FleetReport(
        pipeline=_address(pipeline.dag_id),
        dag_run_id=dag_run_id,
        event=event,
        succeeded=counted.count(SUCCEEDED) + counted.count(IDLE),
        cancelled=counted.count(CANCELLED),
        failed=tuple(sorted(failed.items())),
        rows=sum(report.rows for report in reports),
        totals=_added(total for report in reports for total in report.totals),
        link=words.fleet_link.format(
            base_url=words.base_url or base_url, dag_id=pipeline.dag_id, dag_run_id=dag_run_id
        ),
    )


def totals(slices: Iterable[LedgerRow]) -> tuple[TableTotal, ...]:
    """Sum slices by table, currency and basis; never across them."""
    return _added(
        TableTotal(table=row.key.table, currency=one.currency, basis=one.basis, amount=one.amount)
        for row in slices
        for one in row.totals
    )


def _added(parts: Iterable[TableTotal]) -> tuple[TableTotal, ...]:
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    for one in parts:
        sums[one.table, one.currency, one.basis] += one.amount
    return tuple(
        TableTotal(table=table, currency=currency, basis=basis, amount=amount)
        for (table, currency, basis), amount in sorted(sums.items())
    )


def _warnings(steps: Iterable[OrgStep]) -> Iterable[str]:
    for step in steps:
        quality: Mapping[str, Any] = (step.result or {}).get("quality") or {}
        for finding in quality.get("findings", ()):
            yield str(finding["message"])


def _reason(error: RunError | None, words: Words) -> str:
    if error is None:
        return ""
    return words.reasons.get(error.code, words.reasons.get("other", ""))


def _address(dag_id: str) -> str:
    return dag_id.replace(".", "/")
