"""The days that are due for a pipeline of an organization."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from convergence.api.http.services import ApiServices
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.running.uncovered_days import find_uncovered_days
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import load_registry
from convergence.runs.days import compute_first_day, find_due_days
from convergence.runs.eligibility import Eligibility
from convergence.runs.slice_states import CHECKED


def list_due_days(
    pipeline: PipelineSpec,
    eligibility: Eligibility,
    *,
    services: ApiServices,
    now: datetime,
    max_days: int | None = None,
) -> tuple[date, ...]:
    """Return the due days, newest first; none for a pipeline without tables by day.

    Args:
        pipeline: the pipeline.
        eligibility: eligibility of the org, with its first connected day.
        services: of this process.
        now: the instant.
        max_days: maximum number of days; by default that of one run.
    """
    if not pipeline.tables:
        return ()
    today = now.astimezone(UTC).date()
    first = compute_first_day(eligibility.connected_on or today, history_days=pipeline.history_days)
    rows = services.ledger.read_ends(
        CHECKED, orgs=[eligibility.org_slug], pipeline_id=pipeline.pipeline_id, since=first
    )
    uncovered = find_uncovered_days(
        services.ledger,
        list_streams(load_registry(services.settings)),
        pipeline_id=pipeline.pipeline_id,
        orgs=[eligibility.org_slug],
        since=first,
    )
    by_day: dict[date, dict[str, Any]] = {}
    for key, row in rows.items():
        by_day.setdefault(key.day, {})[key.table] = row
    return tuple(
        find_due_days(
            by_day,
            first_day=first,
            today=today,
            settle_days=pipeline.lookback_days,
            max_days=max_days or pipeline.max_days,
            tables=pipeline.tables,
            uncovered=uncovered.get(eligibility.org_slug, ()),
        )
    )
