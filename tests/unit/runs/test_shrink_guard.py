"""What the shrink guard decides about a read, by the figures of both reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.shrink_guard import (
    Decision,
    LossKind,
    ShrinkAcceptance,
    ShrinkGuard,
    ShrinkLimits,
    Verdict,
    find_losses,
)
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.day_file import Figures, Measure

DAY = date(2026, 11, 17)
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
KEY = SliceKey("acme_corp", "openai-cost-extract", "openai_billed_daily", DAY)


def figures(
    usd: str | None = "100", *, rows: int = 10, query_version: str = "e1", **quantities: str
) -> Figures:
    gross = () if usd is None else (Measure("USD", Decimal(usd)),)
    measures = tuple(Measure(unit, Decimal(one)) for unit, one in sorted(quantities.items()))
    return Figures(query_version, rows, gross, measures)


def row(content: Figures | None, *, finality: Finality = Finality.SETTLING) -> LedgerRow:
    return LedgerRow(
        key=KEY,
        action=Action.PUBLISHED,
        attempt=1,
        run_id="run_1",
        job_id="job_1",
        content_hash="first",
        row_count=content.rows if content else 10,
        finality=finality,
        checked_at=NOW - timedelta(days=1),
        job_ended_at=NOW - timedelta(days=1),
        figures=content,
    )


def decide(
    published: Figures | None,
    read: Figures,
    *,
    finality: Finality = Finality.SETTLING,
    pending: LowerRead | None = None,
    at: datetime = NOW,
    **guard: Any,
) -> Decision:
    return ShrinkGuard(**guard).decide(
        read,
        content_hash="second",
        read_at=at,
        published=row(published, finality=finality),
        pending=pending,
    )


def losses(before: Figures, now: Figures) -> list[LossKind]:
    return [one.kind for one in find_losses(before, now, limits=ShrinkLimits())]


def test_an_amount_is_lost_above_five_percent_and_one_unit_of_the_currency() -> None:
    assert losses(figures("100"), figures("94.99")) == [LossKind.AMOUNT]
    assert losses(figures("100"), figures("95")) == []
    assert losses(figures("1.50"), figures("0.50")) == []
    assert losses(figures("1.50"), figures("0.49")) == [LossKind.AMOUNT]
    assert losses(figures("100"), figures("250")) == []


def test_a_currency_that_vanishes_is_lost() -> None:
    both = Figures("e1", 10, (Measure("EUR", Decimal(50)), Measure("USD", Decimal(100))))
    (loss,) = find_losses(both, figures("150"), limits=ShrinkLimits())
    assert (loss.unit, loss.published, loss.read) == ("EUR", Decimal(50), Decimal(0))
    assert str(loss) == "amount in EUR 50 -> 0"


def test_a_quantity_without_amounts_is_lost_above_five_percent_and_one_unit() -> None:
    assert losses(figures(None, tokens="1000"), figures(None, tokens="949")) == [LossKind.QUANTITY]
    assert losses(figures(None, tokens="1000"), figures(None, tokens="950")) == []
    assert losses(figures(None, calls="2"), figures(None, calls="1")) == []


def test_the_lost_share_of_a_quantity_is_weighed_by_the_amount() -> None:
    assert losses(figures("0.60", tokens="900"), figures("0.60", tokens="100")) == []
    assert losses(figures("60", tokens="900"), figures("60", tokens="100")) == [LossKind.QUANTITY]


def test_rows_are_compared_only_while_the_query_is_the_same() -> None:
    assert losses(figures(rows=10), figures(rows=8)) == []
    assert losses(figures(rows=10), figures(rows=7)) == [LossKind.ROWS]
    assert losses(figures(rows=10), figures(rows=2, query_version="e2")) == []


def test_another_query_may_measure_other_quantities() -> None:
    before = figures(tokens="900", images="5")
    assert losses(before, figures(tokens="900", query_version="e2")) == []
    assert losses(before, figures(tokens="900")) == [LossKind.QUANTITY]
    assert losses(before, figures(tokens="100", query_version="e2")) == [LossKind.QUANTITY]


def test_a_day_that_had_rows_and_has_none_is_empty() -> None:
    assert losses(figures(rows=1, usd="0.01"), figures(None, rows=0)) == [LossKind.EMPTY]
    assert losses(figures(None, rows=0), figures(None, rows=0)) == []


def test_limits_are_settable() -> None:
    limits = ShrinkLimits(amount_share=Decimal(0), amount=Decimal(0), rows_share=Decimal(0))
    found = find_losses(figures("100"), figures("99.99", rows=9), limits=limits)
    assert [one.kind for one in found] == [LossKind.AMOUNT, LossKind.ROWS]


@pytest.mark.parametrize("finality", list(Finality))
def test_content_without_figures_is_not_comparable(finality: Finality) -> None:
    assert decide(None, figures("1"), finality=finality).verdict is Verdict.PUBLISH


def test_the_first_publication_is_not_guarded() -> None:
    decision = ShrinkGuard().decide(
        figures("1"), content_hash="first", read_at=NOW, published=None, pending=None
    )
    assert decision.verdict is Verdict.PUBLISH


@pytest.mark.parametrize("finality", [Finality.OPEN, Finality.SETTLING])
def test_a_first_lower_read_of_an_open_day_is_kept_back(finality: Finality) -> None:
    decision = decide(figures("100"), figures("60"), finality=finality)
    assert decision.verdict is Verdict.KEEP
    assert decision.lower == LowerRead(figures=figures("60"), content_hash="second", read_at=NOW)


def test_an_equal_read_twelve_hours_later_is_published() -> None:
    pending = decide(figures("100"), figures("60")).lower
    early = decide(
        figures("100"), figures("60"), pending=pending, at=NOW + timedelta(hours=11, minutes=59)
    )
    late = decide(figures("100"), figures("60"), pending=pending, at=NOW + timedelta(hours=12))
    assert (early.verdict, early.lower) == (Verdict.KEEP, pending)
    assert late.verdict is Verdict.PUBLISH


def test_a_read_without_proved_end_confirms_nothing() -> None:
    pending = decide(figures("100"), figures("60")).lower
    later = NOW + timedelta(days=2)
    decision = decide(figures("100"), figures("60"), pending=pending, at=later, end_proved=False)
    assert (decision.verdict, decision.lower) == (Verdict.KEEP, pending)


def test_three_reads_in_a_row_that_disagree_are_refused() -> None:
    first = decide(figures("100"), figures("60")).lower
    second = decide(figures("100"), figures("50"), pending=first, at=NOW + timedelta(days=1))
    third = decide(figures("100"), figures("60"), pending=second.lower, at=NOW + timedelta(days=2))
    assert (second.verdict, third.verdict) == (Verdict.KEEP, Verdict.REFUSE)
    assert third.lower is not None
    assert third.lower.reads == 3


def test_a_refused_read_is_published_when_a_later_one_agrees() -> None:
    refused = LowerRead(figures=figures("60"), content_hash="x", read_at=NOW, reads=3)
    minutes = decide(figures("100"), figures("60"), pending=refused, at=NOW + timedelta(minutes=5))
    day = decide(figures("100"), figures("60"), pending=refused, at=NOW + timedelta(days=1))
    assert (minutes.verdict, day.verdict) == (Verdict.REFUSE, Verdict.PUBLISH)


@pytest.mark.parametrize("finality", [Finality.FINAL, Finality.RESTATED])
def test_lower_content_of_a_final_day_is_refused_however_often_it_is_read(
    finality: Finality,
) -> None:
    pending = LowerRead(figures=figures("60"), content_hash="x", read_at=NOW - timedelta(days=9))
    for found in (None, pending):
        decision = decide(figures("100"), figures("60"), finality=finality, pending=found)
        assert decision.verdict is Verdict.REFUSE


@pytest.mark.parametrize("finality", list(Finality))
def test_empty_content_is_refused_in_every_state(finality: Finality) -> None:
    empty = figures(None, rows=0)
    pending = LowerRead(figures=empty, content_hash="x", read_at=NOW - timedelta(days=9))
    assert decide(figures(), empty, finality=finality, pending=pending).verdict is Verdict.REFUSE


def test_an_invoice_closes_an_open_day_but_not_a_final_one() -> None:
    lower = figures("60")
    assert decide(figures("100"), lower, invoiced=True).verdict is Verdict.PUBLISH
    final = decide(figures("100"), lower, invoiced=True, finality=Finality.FINAL)
    empty = decide(figures("100"), figures(None, rows=0), invoiced=True)
    assert (final.verdict, empty.verdict) == (Verdict.REFUSE, Verdict.REFUSE)


def test_an_acceptance_covers_its_days_and_orgs() -> None:
    accepted = ShrinkAcceptance(first=DAY, last=DAY, reason="the provider credited the day")
    others = replace(accepted, orgs=("globex_inc",))
    before = replace(accepted, first=DAY - timedelta(days=5), last=DAY - timedelta(days=1))
    final = {"finality": Finality.FINAL}
    verdicts = [
        decide(figures("100"), figures("60"), **final, accepted=one).verdict  # type: ignore[arg-type]
        for one in (accepted, replace(accepted, orgs=("acme_corp",)), others, before)
    ]
    assert verdicts == [Verdict.PUBLISH, Verdict.PUBLISH, Verdict.REFUSE, Verdict.REFUSE]
    empty = decide(figures("100"), figures(None, rows=0), accepted=accepted)
    assert empty.verdict is Verdict.PUBLISH


def test_the_run_parameter_is_an_object_with_days_and_reason() -> None:
    value = {"start_date": "2026-11-01", "end_date": "2026-11-30", "reason": "credit note"}
    accepted = ShrinkAcceptance.from_param(value)
    assert accepted == ShrinkAcceptance(
        first=date(2026, 11, 1), last=date(2026, 11, 30), reason="credit note"
    )
    assert [ShrinkAcceptance.from_param(one) for one in (None, True, False)] == [None] * 3
