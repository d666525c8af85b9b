"""The audit entry of a run that may publish less than what is published."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from convergence.runs.shrink_guard import ACCEPT_SHRINK, ShrinkAcceptance
from convergence.state.org_runs import OrgRun
from convergence.tenants import audit
from convergence.tenants.audit import Actor, AuditedAction, AuditResult

ACTION: Final = "run.accept_shrink"


def audit_acceptance(conn: Connection, run: OrgRun, *, by: Actor, now: datetime) -> None:
    """Add an audit entry with days and reason if the run accepts lower content of its org.

    Args:
        conn: the transaction that admits the run.
        run: the org run; its params are checked.
        by: who triggered it.
        now: the present, aware.
    """
    accepted = ShrinkAcceptance.from_param(run.params.get(ACCEPT_SHRINK))
    if accepted is None or (accepted.orgs and run.org_slug not in accepted.orgs):
        return
    details = {
        "start_date": accepted.first.isoformat(),
        "end_date": accepted.last.isoformat(),
        "reason": accepted.reason,
        "pipeline_id": run.pipeline_id,
    }
    act = AuditedAction(run.org_slug, by, ACTION, run.run_id)
    audit.append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now, details=details)
