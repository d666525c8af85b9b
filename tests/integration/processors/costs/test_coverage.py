"""When a bill covers a day: each state of bill and usage, and what the day then shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.processors.costs.config import AuthoritativeConfig
from convergence.processors.costs.publishing import publish_streams
from convergence.runs.ledger import LedgerRow
from convergence.runs.slices import Finality
from support.processor_env import OrgEnv

DAY = date(2026, 9, 10)
STREAM = AuthoritativeConfig(streams=("openai/api",))
SETTLING = datetime.combine(DAY + timedelta(days=2), time(6), UTC)
FINAL = datetime.combine(DAY + timedelta(days=6), time(6), UTC)
Rows = list[dict[str, Any]]


def usage(cost: str, *, model: str = "gpt-a", quantity: int = 1000) -> dict[str, Any]:
    """One usage row with one meter."""
    amount = Decimal(cost)
    meter = {"meter": "input_tokens", "quantity": quantity}
    costs = dict.fromkeys(("list_cost", "contracted_cost"), amount)
    return {
        "usage_date": DAY,
        "endpoint": "completions",
        "project_id": "proj_1",
        "api_key_id": "key_1",
        "model": model,
        "num_model_requests": 5,
        "billed_cost": amount,
        "effective_cost": amount,
        "currency": "USD",
        "pricing_status": "PRICED",
        "meters": [meter | costs],
        **costs,
    }


def line(cost: str, *, item: str = "gpt-a, input", quantity: int | None = 1000) -> dict[str, Any]:
    """One line of the bill."""
    starts = datetime.combine(DAY, time.min, UTC)
    return {
        "usage_date": DAY,
        "bucket_start": starts,
        "bucket_end": starts + timedelta(days=1),
        "project_id": "proj_1",
        "api_key_id": "key_1",
        "line_item": item,
        "billed_cost": Decimal(cost),
        "currency": "USD",
        "amount_received": cost,
        "quantity": quantity,
        "quantity_unit": "tokens",
    }


class Books:
    """An org whose usage and bill are set by hand."""

    def __init__(self, org: OrgEnv, folder: Path) -> None:
        self._org = org
        self._folder = folder

    def use(self, *rows: dict[str, Any], at: datetime = SETTLING) -> None:
        self._publish(rows, "openai_cost_daily", "openai-usage-cost", at)

    def bill(self, *rows: dict[str, Any], at: datetime = SETTLING) -> None:
        self._publish(rows, "openai_billed_daily", "openai-cost-extract", at)

    def show(self, *, at: datetime = SETTLING) -> dict[str, Any]:
        """Publish the stream; what the day shows."""
        org = self._org.at(at)
        publish_streams(org.context([DAY]), STREAM)
        rows = org.rows("cost_daily", f"WHERE x_UsageDate = '{DAY}'")
        ((shown, bill, used),) = {
            (row["x_Shown"], row["x_BillState"], row["x_UsageState"]) for row in rows
        }
        total = sum((row["BilledCost"] or Decimal(0) for row in rows), Decimal(0))
        kinds = {row["x_Attribution"] for row in rows}
        return {"shown": shown, "bill": bill, "usage": used, "total": total, "kinds": kinds}

    def ledger_row(self) -> LedgerRow:
        (row,) = self._org.env.services.ledger.read_latest(
            orgs=[self._org.slug], pipeline_id="openai-api-authoritative"
        ).values()
        return row

    def _publish(
        self, rows: Sequence[dict[str, Any]], table: str, pipeline_id: str, at: datetime
    ) -> None:
        self._org.at(at).publish_rows(
            rows,
            [DAY],
            schema_file=f"openai/cost/schemas/{table}.json",
            folder=self._folder,
            pipeline_id=pipeline_id,
        )


@pytest.fixture
def books(org: OrgEnv, tmp_path: Path) -> Books:
    return Books(org, tmp_path)


def is_as(found: dict[str, Any], **expected: object) -> bool:
    return {name: found[name] for name in expected} == expected


def test_usage_without_a_bill_is_computed_cost_that_settles(books: Books) -> None:
    books.use(usage("2"), at=FINAL)
    found = books.show(at=FINAL)
    assert is_as(found, shown="computed", bill="expected", usage="published", total=Decimal(2))
    # Its usage is final, but the bill may still come, until 90 days after the day's end.
    assert books.ledger_row().finality is Finality.SETTLING
    late = FINAL + timedelta(days=90)
    books.show(at=late)
    assert books.ledger_row().finality is Finality.FINAL


def test_a_settling_bill_that_is_not_below_the_usage_covers(books: Books) -> None:
    books.use(usage("2"))
    books.bill(line("1.5"), line("4", item="image", quantity=7))
    found = books.show()
    # Less money for the same quantity is a price, not a missing part.
    assert is_as(found, shown="billed", bill="covers", total=Decimal("5.5"))
    assert found["kinds"] == {"direct", "unattributed"}


def test_a_partial_bill_shows_computed_cost_until_it_is_complete(books: Books) -> None:
    books.use(usage("2"), usage("3", model="gpt-b"))
    books.bill(line("2"))
    assert is_as(books.show(), shown="computed", bill="partial", total=Decimal(5))
    # Final by the calendar, and still below: it does not cover until two reads agree.
    books.bill(line("2"), line("1", item="gpt-b, input", quantity=300), at=FINAL)
    assert is_as(books.show(at=FINAL), shown="computed", bill="partial")
    later = FINAL + timedelta(hours=25)
    books.bill(line("2"), line("1", item="gpt-b, input", quantity=300), at=later)
    found = books.show(at=later)
    assert is_as(found, shown="billed", bill="covers", total=Decimal(3))


def test_a_late_line_completes_the_bill(books: Books) -> None:
    books.use(usage("2"), usage("3", model="gpt-b"), at=FINAL)
    books.bill(line("2"), at=FINAL)
    assert is_as(books.show(at=FINAL), shown="computed", bill="partial")
    day_41 = FINAL + timedelta(days=35)
    books.bill(line("2"), line("3", item="gpt-b, input"), at=day_41)
    assert is_as(books.show(at=day_41), shown="billed", bill="covers", total=Decimal(5))


def test_an_empty_bill_of_used_days_never_covers(books: Books) -> None:
    books.use(usage("2"), at=FINAL)
    books.bill(at=FINAL)
    assert is_as(books.show(at=FINAL), shown="computed", bill="empty", total=Decimal(2))
    later = FINAL + timedelta(days=40)
    books.bill(at=later)
    assert is_as(books.show(at=later), shown="computed", bill="empty")


def test_an_empty_bill_of_an_unused_day_is_a_day_without_cost(books: Books) -> None:
    books.use(at=FINAL)
    books.bill(at=FINAL)
    assert is_as(books.show(at=FINAL), shown="zero", bill="covers", total=Decimal(0))


def test_a_bill_without_usage_is_preliminary_until_it_is_final(books: Books) -> None:
    books.bill(line("2"))
    found = books.show()
    assert is_as(found, shown="preliminary", usage="missing", total=Decimal(2))
    assert found["kinds"] == {"unattributed"}
    books.bill(line("2"), at=FINAL)
    assert is_as(books.show(at=FINAL), shown="billed", bill="covers", total=Decimal(2))


def test_usage_after_a_preliminary_bill_may_replace_it(books: Books) -> None:
    books.bill(line("2"))
    books.show()
    books.use(usage("2"), usage("3", model="gpt-b"))
    assert is_as(books.show(), shown="computed", bill="partial", total=Decimal(5))


def test_a_covered_day_stays_billed_when_more_usage_arrives(books: Books) -> None:
    books.use(usage("2"), at=FINAL)
    books.bill(line("2"), at=FINAL)
    assert is_as(books.show(at=FINAL), shown="billed")
    later = FINAL + timedelta(days=1)
    books.use(usage("2"), usage("3", model="gpt-b"), at=later)
    found = books.show(at=later)
    assert is_as(found, shown="billed", bill="covers", total=Decimal(2))
    assert found["kinds"] == {"direct", "not_billed"}
    row = books.ledger_row()
    # The total is the same: no restatement.
    assert (row.change, row.finality) == ("REATTRIBUTED", Finality.FINAL)


def test_a_restated_bill_restates_the_day(books: Books) -> None:
    books.use(usage("2"), at=FINAL)
    books.bill(line("2"), at=FINAL)
    books.show(at=FINAL)
    later = FINAL + timedelta(days=1)
    books.bill(line("2.5"), at=later)
    assert is_as(books.show(at=later), shown="billed", total=Decimal("2.5"))
    row = books.ledger_row()
    assert (row.change, row.finality) == (None, Finality.RESTATED)


def test_usage_without_a_price_does_not_keep_a_bill_from_covering(books: Books) -> None:
    unpriced = usage("0", model="gpt-x") | {
        **dict.fromkeys(("list_cost", "contracted_cost", "billed_cost", "effective_cost")),
        "currency": None,
        "pricing_status": "UNPRICED",
        "unpriced_reason": "no_price",
        "meters": [{"meter": "input_tokens", "quantity": 9}],
    }
    books.use(usage("2"), unpriced)
    books.bill(line("2"))
    found = books.show()
    assert is_as(found, shown="billed", bill="covers", total=Decimal(2))
    assert found["kinds"] == {"direct", "not_billed"}


def test_usage_without_a_key_is_matched_with_the_bill_of_calls_without_a_key(books: Books) -> None:
    """Such as that of a playground, where others of the same model have keys."""
    books.use(usage("2"), usage("3") | {"api_key_id": None})
    books.bill(line("2"), line("3") | {"api_key_id": None})
    found = books.show()
    assert is_as(found, shown="billed", bill="covers", total=Decimal(5))
    assert found["kinds"] == {"direct"}


def test_a_key_that_only_the_bill_states_divides_the_usage(books: Books) -> None:
    books.use(usage("5", quantity=2000) | {"api_key_id": None})
    books.bill(line("2"), line("3") | {"api_key_id": None})
    found = books.show()
    assert is_as(found, shown="billed", bill="covers", total=Decimal(5))
    assert found["kinds"] == {"proportional"}
