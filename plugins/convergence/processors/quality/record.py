"""Keep verdicts: as lines of the append-only log, and as a step's report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from convergence.errors import ExpectationsNotMetError
from convergence.processors.context import OrgContext
from convergence.processors.quality.judge import Verdict
from convergence.state import outbox

RESULTS: Final = "org_meta_dq_results"
_MAX_FINDINGS = 50
_MAX_IN_ERROR = 3


def keep(org: OrgContext, verdicts: Sequence[Verdict], *, suite: str, now: datetime) -> None:
    """Append every verdict to the log of results; it is shipped when the run is closed."""
    with org.store.begin() as conn:
        for verdict in verdicts:
            outbox.enqueue_row(conn, RESULTS, _build_result_row(org, verdict, suite=suite, now=now))


def report(verdicts: Sequence[Verdict], *, suite: str) -> dict[str, Any]:
    """Build the step's report: the number of checks, and each one that was not met."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    failed.sort(key=lambda one: (one.severity, one.day, one.expectation))
    return {
        "quality": {
            "suite": suite,
            "expectations": len({verdict.expectation for verdict in verdicts}),
            "days": len({verdict.day for verdict in verdicts}),
            "not_met": len(failed),
            "findings": [verdict.to_dict() for verdict in failed[:_MAX_FINDINGS]],
        }
    }


def build_stop_error(verdicts: Sequence[Verdict], *, suite: str) -> ExpectationsNotMetError | None:
    """Return the error of a run with unmet `stop` expectations, or None."""
    stops = [one for one in verdicts if not one.passed and one.severity == "stop"]
    if not stops:
        return None
    findings = "; ".join(verdict.message for verdict in stops[:_MAX_IN_ERROR])
    more = len(stops) - _MAX_IN_ERROR
    message = f"{findings}; and {more} more" if more > 0 else findings
    return ExpectationsNotMetError(message, report=report(verdicts, suite=suite))


def _build_result_row(
    org: OrgContext, verdict: Verdict, *, suite: str, now: datetime
) -> dict[str, Any]:
    return {
        "org_slug": org.org_slug,
        "run_id": org.run_id,
        "pipeline_id": f"{org.org_slug}-{org.pipeline.pipeline_id}",
        "suite": suite,
        "expectation_id": verdict.expectation,
        "table_name": verdict.table,
        "slice_day": verdict.day,
        "severity": verdict.severity,
        "passed": verdict.passed,
        "observed": verdict.observed,
        "expected": verdict.expected,
        "failing_rows": verdict.failing_rows,
        "recorded_at": now,
    }
