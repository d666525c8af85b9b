"""Which days a pipeline would do for an organization if it ran now."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from convergence.api.http.services import Services
from convergence.pipelines.files.spec import PipelineSpec
from convergence.runs.days import compute_first_day, find_due_days
from convergence.runs.eligibility import Eligibility
from convergence.runs.slice_states import CHECKED


def due(
    pipeline: PipelineSpec,
    standing: Eligibility,
    *,
    services: Services,
    now: datetime,
    max_days: int | None = None,
) -> tuple[date, ...]:
    """Days that are due, newest first; none for a pipeline without tables by day.

    Args:
        pipeline: what would run.
        standing: of the org, with its first connected day.
        services: the rooms below.
        now: the instant.
        max_days: most days to give; what one run does when not given.
    """
    if not pipeline.tables:
        return ()
    today = now.astimezone(UTC).date()
    first = compute_first_day(standing.connected_on or today, history_days=pipeline.history_days)
    rows = services.ledger.read_ends(
        CHECKED, orgs=[standing.org_slug], pipeline_id=pipeline.pipeline_id, since=first
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
        )
    )
