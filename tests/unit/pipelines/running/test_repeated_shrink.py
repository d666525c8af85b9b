"""A slice that is refused run after run is announced when it is refused first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, cast

from convergence.pipelines.running.repeated_shrink import find_repeated_runs
from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger import Action, SliceEnd
from convergence.runs.slices import Finality, SliceKey
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.warehouse.day_file import Figures

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
DAYS = (date(2026, 11, 17), date(2026, 11, 18))


class Ledger:
    def __init__(self, *ends: SliceEnd) -> None:
        self._ends = ends
        self.queries = 0

    def read_ends(
        self, actions: Collection[Action], *, orgs: Sequence[str], **_: Any
    ) -> dict[SliceKey, SliceEnd]:
        self.queries += 1
        return {
            end.key: end for end in self._ends if end.action in actions and end.key.org_slug in orgs
        }


def refused(day: date, *, by: str, first: str) -> SliceEnd:
    return SliceEnd(
        key=SliceKey("acme_corp", "p", "openai_billed_daily", day),
        action=Action.REFUSED,
        attempt=2,
        run_id=by,
        finality=Finality.FINAL,
        checked_at=NOW,
        lower_pending=LowerRead(
            figures=Figures("q1", 1), content_hash="x", read_at=NOW, refused_by=first
        ),
    )


def ended_run(code: str = "would_shrink", status: RunStatus = RunStatus.FAILED) -> OrgRun:
    return OrgRun(
        run_id="run_2",
        org_slug="acme_corp",
        pipeline_id="p",
        dag_id="d",
        dag_run_id="r",
        trigger="schedule",
        requested_by="scheduler",
        created_at=NOW,
        status=status,
        days=DAYS,
        error=RunError(code, "lower") if status is RunStatus.FAILED else None,
    )


def repeated(ledger: Ledger, one: OrgRun, *codes: str) -> frozenset[str]:
    steps = {
        f"step_{number}": OrgStep(
            run_id="run_2",
            step=f"step_{number}",
            org_slug="acme_corp",
            processor="openai.billed",
            attempt=1,
            started_at=NOW,
            status=StepStatus.FAILED,
            error=RunError(code, "lower"),
        )
        for number, code in enumerate(codes)
    }

    def steps_of(_: str) -> Mapping[str, OrgStep]:
        return steps

    return find_repeated_runs([one], pipeline_id="p", ledger=cast("Any", ledger), steps_of=steps_of)


def test_a_run_that_is_the_first_to_refuse_a_slice_is_announced() -> None:
    first = refused(DAYS[0], by="run_2", first="run_2")
    again = refused(DAYS[1], by="run_2", first="run_1")
    assert repeated(Ledger(first, again), ended_run(), "would_shrink") == frozenset()


def test_a_run_that_only_refuses_slices_again_is_not_announced() -> None:
    again = refused(DAYS[1], by="run_2", first="run_1")
    assert repeated(Ledger(again), ended_run(), "would_shrink") == {"run_2"}


def test_a_run_with_another_failure_is_announced() -> None:
    again = refused(DAYS[1], by="run_2", first="run_1")
    assert not repeated(Ledger(again), ended_run(), "would_shrink", "provider_unavailable")
    assert not repeated(Ledger(again), ended_run("provider_unavailable"), "provider_unavailable")


def test_the_ledger_is_read_only_if_a_run_refused_a_slice() -> None:
    ledger = Ledger()
    repeated(ledger, ended_run(status=RunStatus.SUCCESS))
    repeated(ledger, ended_run("provider_unavailable"), "provider_unavailable")
    assert ledger.queries == 0
