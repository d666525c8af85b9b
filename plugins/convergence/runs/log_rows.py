"""Rows of the run and step logs, which are append-only central tables."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final

from convergence.state.org_runs import OrgRun, RunError
from convergence.state.org_steps import OrgStep

RUN_LOG: Final = "org_meta_pipeline_runs"
STEP_LOG: Final = "org_meta_step_logs"


def record_name(run: OrgRun) -> str:
    """Return the pipeline's name in run records, such as `acme_corp-openai-usage-cost`."""
    return f"{run.org_slug}-{run.pipeline_id}"


def build_run_row(run: OrgRun, *, rows_processed: int, now: datetime) -> dict[str, Any]:
    """Build the run log's row of a run."""
    return {
        "org_slug": run.org_slug,
        "run_id": run.run_id,
        "pipeline_id": record_name(run),
        "dag_id": run.dag_id,
        "dag_run_id": run.dag_run_id,
        "trigger": run.trigger,
        "status": run.status,
        "days": list(run.days),
        "request_id": run.request_id,
        "requested_by": run.requested_by,
        **_build_error_columns(run.error),
        "rows_processed": rows_processed,
        "recorded_at": now,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "created_at": run.created_at,
        "params": json.dumps(dict(run.params), sort_keys=True) if run.params else None,
        "debited": run.debited,
    }


def build_step_row(run: OrgRun, step: OrgStep, *, now: datetime) -> dict[str, Any]:
    """Build the step log's row of an attempt at a step."""
    return {
        "org_slug": step.org_slug,
        "run_id": step.run_id,
        "pipeline_id": record_name(run),
        "step": step.step,
        "processor": step.processor,
        "status": step.status,
        "attempt": step.attempt,
        "rows_processed": step.rows_processed,
        "destination_table": step.destination_table,
        "result": json.dumps(step.result, sort_keys=True) if step.result is not None else None,
        **_build_error_columns(step.error),
        "recorded_at": now,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
    }


def _build_error_columns(error: RunError | None) -> dict[str, str | None]:
    return {
        "error_code": error.code if error else None,
        "error_message": error.message if error else None,
    }
