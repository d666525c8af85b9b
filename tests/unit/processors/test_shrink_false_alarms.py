"""Changes of a day that lose nothing, measured as each source declares, and no alarm about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from convergence.extract.spool import Spool, day_from_field
from convergence.extract.storage.figures import FigureSpec, RowFigures, measure_columns
from convergence.processors.aws.period import MEASURE as AWS
from convergence.processors.gcp.shape import measure_row as google
from convergence.processors.openai.extraction import MEASURE_BILL as OPENAI_BILL
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.shrink_guard import Decision, ShrinkGuard, Verdict
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.day_file import Figures

FRIDAY = date(2026, 11, 13)
NOW = datetime(2026, 12, 5, 6, tzinfo=UTC)
Measure = Callable[[Mapping[str, Any]], RowFigures | None]
Rows = Sequence[Mapping[str, Any]]


class Table:
    """One guarded table; `read` seals rows and returns the guard's decision about them."""

    def __init__(self, folder: Path, measure: Measure) -> None:
        self._folder = folder / uuid4().hex
        self._measure = measure
        self._published: dict[date, LedgerRow] = {}
        self._seals = 0

    def read(
        self,
        rows: Rows,
        *,
        day: date = FRIDAY,
        finality: Finality = Finality.FINAL,
        query: str = "q1",
        invoiced: bool = False,
    ) -> Decision:
        figures = self._seal(rows, day, query)
        published = self._published.get(day)
        decision = ShrinkGuard(invoiced=invoiced).decide(
            figures, content_hash="hash", read_at=NOW, published=published, pending=None
        )
        if decision.verdict is Verdict.PUBLISH:
            self._published[day] = published_as(day, figures, finality)
        return decision

    def _seal(self, rows: Rows, day: date, query: str) -> Figures:
        self._seals += 1
        spool = Spool.open(self._folder / str(self._seals), fingerprint="test")
        spool.write_page([{**row, "usage_date": day.isoformat()} for row in rows], next_token=None)
        spec = FigureSpec(query_version=query, measure=self._measure)
        sealed = spool.write_day_files(day_from_field("usage_date"), [day], figures=spec)[day]
        assert sealed.figures is not None
        return sealed.figures


def published_as(day: date, figures: Figures, finality: Finality) -> LedgerRow:
    return LedgerRow(
        key=SliceKey("acme_corp", "p", "t", day),
        action=Action.PUBLISHED,
        attempt=1,
        run_id="run_1",
        job_id="job",
        content_hash="other",
        row_count=figures.rows,
        finality=finality,
        checked_at=NOW,
        job_ended_at=NOW,
        figures=figures,
    )


def bill_line(cost: str, *, item: str = "gpt-5, input", quantity: str | None = "1000000") -> Any:
    return {
        "line_item": item,
        "billed_cost": Decimal(cost),
        "currency": "USD",
        "quantity": None if quantity is None else Decimal(quantity),
        "quantity_unit": "tokens",
    }


def cur2(cost: str, line_type: str = "Usage", **more: Any) -> Any:
    row = {
        "line_type": line_type,
        "charge_category": "Usage",
        "charge_class": None,
        "billed_cost": Decimal(cost),
        "currency": "USD",
        "usage_quantity": Decimal(100),
        "unit": "Hrs",
    }
    return row | more


def focus(cost: str, category: str = "Usage", charge_class: str | None = None) -> Any:
    return cur2(cost, line_type=None, charge_category=category, charge_class=charge_class)  # type: ignore[arg-type]


def export(amount: float, **more: Any) -> Any:
    row = {
        "cost_type": "regular",
        "cost": amount,
        "currency": "USD",
        "usage": {"amount": 3600.0, "unit": "seconds"},
        "credits": [],
        "adjustment_info": None,
    }
    return row | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_weekend_is_compared_with_itself(folder: Path) -> None:
    table = Table(folder, OPENAI_BILL)
    verdicts = [
        table.read([bill_line(cost)], day=FRIDAY + timedelta(days=number)).verdict
        for number, cost in enumerate(("400", "20", "10", "390"))
    ]
    assert verdicts == [Verdict.PUBLISH] * 4


def test_an_org_that_stops_using_a_product_publishes_empty_days(folder: Path) -> None:
    table = Table(folder, OPENAI_BILL)
    for number, rows in enumerate(([bill_line("400")], [bill_line("5")], [], [], [])):
        decision = table.read(rows, day=FRIDAY + timedelta(days=number))
        assert decision.verdict is Verdict.PUBLISH


def test_the_first_and_the_last_day_of_a_month_are_days_like_others(folder: Path) -> None:
    """The fees of a month are on its first day."""
    table = Table(folder, AWS)
    first, last, following = date(2026, 10, 1), date(2026, 10, 31), date(2026, 11, 1)
    assert table.read([cur2("50"), cur2("900", "RIFee")], day=first).verdict is Verdict.PUBLISH
    assert table.read([cur2("50")], day=last).verdict is Verdict.PUBLISH
    assert table.read([cur2("1")], day=following).verdict is Verdict.PUBLISH
    late = [cur2("50"), cur2("900", "RIFee"), cur2("-20", "Credit"), cur2("190", "Tax")]
    assert table.read(late, day=first).verdict is Verdict.PUBLISH


def test_sustained_use_credits_lower_the_net_cost_only(folder: Path) -> None:
    table = Table(folder, google)
    table.read([export(100.0)])
    discount = [{"type": "SUSTAINED_USAGE_DISCOUNT", "amount": -30.0}]
    assert not table.read([export(100.0, credits=discount)]).losses


@pytest.mark.parametrize("line_type", ["Refund", "Credit", "EdpDiscount", "SavingsPlanNegation"])
def test_a_refund_of_aws_lowers_nothing(folder: Path, line_type: str) -> None:
    table = Table(folder, AWS)
    table.read([cur2("100")])
    assert not table.read([cur2("100"), cur2("-100", line_type)]).losses


def test_a_refund_of_openai_lowers_nothing(folder: Path) -> None:
    table = Table(folder, OPENAI_BILL)
    table.read([bill_line("100")])
    assert not table.read(
        [bill_line("100"), bill_line("-100", item="refund", quantity=None)]
    ).losses


@pytest.mark.parametrize(
    "correction",
    [
        {"cost": -60.0, "adjustment_info": {"id": "a1", "type": "GENERAL_ADJUSTMENT"}},
        {"cost": -60.0, "cost_type": "adjustment"},
        {"cost": -0.01, "cost_type": "rounding_error"},
        {"cost": 19.0, "cost_type": "tax"},
    ],
)
def test_a_correction_of_google_lowers_nothing(folder: Path, correction: Any) -> None:
    table = Table(folder, google)
    table.read([export(100.0)])
    assert not table.read([export(100.0), export(0.0, **correction)]).losses


def test_a_corrected_focus_bill_lowers_nothing(folder: Path) -> None:
    table = Table(folder, AWS)
    table.read([focus("100"), focus("20", "Purchase"), focus("24", "Tax")])
    corrected = [
        *(focus("100"), focus("20", "Purchase"), focus("24", "Tax")),
        *(focus("-80", "Usage", "Correction"), focus("-5", "Credit")),
    ]
    assert not table.read(corrected).losses


def test_a_corrected_bill_within_the_limits_is_published(folder: Path) -> None:
    table = Table(folder, OPENAI_BILL)
    table.read([bill_line("100")])
    assert table.read([bill_line("95.50")]).verdict is Verdict.PUBLISH


def test_aws_restates_last_month_with_its_invoice(folder: Path) -> None:
    """The period carries its invoice for the first time: it is published at once."""
    table = Table(folder, AWS)
    table.read([cur2("100"), cur2("60", "Tax")], finality=Finality.SETTLING)
    restated = table.read([cur2("88"), cur2("52", "Tax")], invoiced=True)
    assert restated.losses
    assert restated.verdict is Verdict.PUBLISH


def test_a_removed_grouping_has_fewer_rows_and_no_loss(folder: Path) -> None:
    table = Table(folder, OPENAI_BILL)
    table.read([bill_line("10"), bill_line("20"), bill_line("30"), bill_line("40")])
    (whole,) = [bill_line("100", quantity="4000000")]
    assert table.read([whole], query="q2").verdict is Verdict.PUBLISH
    other = Table(folder, OPENAI_BILL)
    other.read([bill_line("10"), bill_line("20"), bill_line("30"), bill_line("40")])
    assert other.read([whole]).verdict is Verdict.REFUSE


def test_lost_lines_are_an_alarm_in_each_source(folder: Path) -> None:
    for measure, whole, part in (
        (OPENAI_BILL, [bill_line("60"), bill_line("40")], [bill_line("60")]),
        (AWS, [cur2("60"), cur2("40")], [cur2("60")]),
        (AWS, [focus("60"), focus("40")], [focus("60")]),
        (google, [export(60.0), export(40.0)], [export(60.0)]),
        (measure_columns(quantities={"n": "n"}), [{"n": 60}, {"n": 40}], [{"n": 60}]),
    ):
        table = Table(folder, measure)
        table.read(whole)
        assert table.read(part).verdict is Verdict.REFUSE
        assert table.read([]).verdict is Verdict.REFUSE


def test_rows_without_money_are_an_alarm(folder: Path) -> None:
    """A file with all rows and no amounts."""
    table = Table(folder, AWS)
    table.read([cur2("60"), cur2("40")])
    assert table.read([cur2("0"), cur2("0")]).verdict is Verdict.REFUSE
