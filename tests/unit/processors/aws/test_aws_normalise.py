from __future__ import annotations

import csv
import gzip
import io
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.processors.aws.columns import DOCUMENTED, REQUIRED
from convergence.processors.aws.csv_pieces import pieces, record_end
from convergence.processors.aws.normalise import KEYS, Month, Sums
from support.vendors.aws_lines import cur2, write_csv

NOVEMBER = Month(date(2026, 11, 1), date(2026, 11, 21))
GOLDEN = Path(__file__).parents[3] / "data" / "aws" / "focus_1_2_llm_sample.csv"
NANO, ATTO = Decimal("1e-9"), Decimal("1e-18")
PLENTY = 10**9
QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

amounts = st.decimals(
    min_value=-(10**9), max_value=10**9, allow_nan=False, allow_infinity=False, places=12
) | st.sampled_from([Decimal("4E-9"), Decimal("1.2E-7"), Decimal("0E-10"), Decimal("-0.5")])


def read_csv(path: Path, lines: list[dict[str, Any]], kind: Any = "cur2") -> Sums:
    sums = Sums(kind, NOVEMBER)
    sums.add_csv(write_csv(path / "x.csv.gz", lines), file="x", max_bytes=PLENTY)
    return sums


def only(sums: Sums) -> dict[str, Any]:
    (row,) = sums.rows()
    return row


@QUICK
@given(costs=st.lists(st.tuples(amounts, st.integers(1, 21)), min_size=1, max_size=30))
def test_text_amounts_add_up_exactly_and_are_rounded_once(
    tmp_path: Path, costs: list[tuple[Decimal, int]]
) -> None:
    expected: dict[str, Decimal] = defaultdict(Decimal)
    lines = []
    for cost, day in costs:
        start = f"2026-11-{day:02d}T00:00:00.000Z"
        lines.append(cur2(line_item_unblended_cost=cost, line_item_usage_start_date=start))
        expected[start[:10]] += cost
    rows = list(read_csv(tmp_path, lines).rows())
    found = {row["usage_date"]: row["billed_cost"] for row in rows}
    assert found == {
        day: total.quantize(NANO, ROUND_HALF_UP) for day, total in sorted(expected.items())
    }
    assert sum(row["line_count"] for row in rows) == len(costs)


@QUICK
@given(costs=st.lists(st.floats(-1e9, 1e9, allow_nan=False), min_size=1, max_size=30))
def test_doubles_are_taken_at_their_shortest_form(tmp_path: Path, costs: list[float]) -> None:
    frame = pl.DataFrame([cur2(line_item_unblended_cost=cost) for cost in costs])
    frame.write_parquet(tmp_path / "x.parquet")
    sums = Sums("cur2", NOVEMBER)
    sums.add_parquet(tmp_path / "x.parquet", file="x")
    exact = sum((Decimal(repr(cost)).quantize(ATTO, ROUND_HALF_EVEN) for cost in costs), Decimal(0))
    assert only(sums)["billed_cost"] == exact.quantize(NANO, ROUND_HALF_UP)


@QUICK
@given(
    parts=st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=8), min_size=1, max_size=4),
    accounts=st.lists(st.sampled_from(["1", "2", "3"]), min_size=32, max_size=32),
)
def test_into_how_many_files_a_period_is_cut_changes_nothing(
    tmp_path: Path, parts: list[list[int]], accounts: list[str]
) -> None:
    lines = [
        [
            cur2(line_item_unblended_cost=n, line_item_usage_account_id=accounts[i], novelty=n)
            for i, n in enumerate(part)
        ]
        for part in parts
    ]
    whole = read_csv(tmp_path, [line for part in lines for line in part])
    cut = Sums("cur2", NOVEMBER)
    for part in lines:
        cut.add_csv(write_csv(tmp_path / "y.csv.gz", part), file="y", max_bytes=PLENTY)
    assert list(cut.rows()) == list(whole.rows())
    assert (cut.lines, cut.unknown) == (whole.lines, whole.unknown)


@QUICK
@given(
    cells=st.lists(
        st.tuples(*[st.text(st.sampled_from('a,"\n\r é'), max_size=6)] * 2), min_size=1, max_size=40
    ),
    piece_bytes=st.integers(1, 64),
)
def test_pieces_hold_whole_records_and_lose_none(
    tmp_path: Path, cells: list[tuple[str, str]], piece_bytes: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([("one", "two"), *cells])
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    header, *found = pieces(path, file="x", max_bytes=PLENTY, piece_bytes=piece_bytes)
    assert header == b"one\ntwo"
    told = [
        tuple(record)
        for piece in found
        for record in csv.reader(io.StringIO(piece.decode(), newline=""))
    ]
    assert told == cells


def test_a_record_ends_outside_of_quotes() -> None:
    assert record_end(b'a,b\nc,"d\ne') == 4
    assert record_end(b'a,"b\nc') == 0
    assert record_end(b'a,"b""\n"\nc') == 9


@pytest.mark.parametrize(
    ("line", "costs", "category"),
    [
        ({"pricing_public_on_demand_cost": "2"}, "1.5 1.5 2", "Usage"),
        (
            {
                "line_item_line_item_type": "SavingsPlanCoveredUsage",
                "savings_plan_savings_plan_effective_cost": "0.9",
                "pricing_public_on_demand_cost": "1.5",
            },
            "1.5 0.9 1.5",
            "Usage",
        ),
        (
            {
                "line_item_line_item_type": "SavingsPlanNegation",
                "line_item_unblended_cost": "-1.5",
                "pricing_public_on_demand_cost": "0",
            },
            "-1.5 0 0",
            "Usage",
        ),
        (
            {
                "line_item_line_item_type": "SavingsPlanRecurringFee",
                "savings_plan_total_commitment_to_date": "1.5",
                "savings_plan_used_commitment": "0.9",
            },
            "1.5 0.6 1.5",
            "Purchase",
        ),
        ({"line_item_line_item_type": "SavingsPlanUpfrontFee"}, "1.5 0 1.5", "Purchase"),
        (
            {
                "line_item_line_item_type": "DiscountedUsage",
                "line_item_unblended_cost": "0",
                "reservation_effective_cost": "0.7",
                "pricing_public_on_demand_cost": "2",
            },
            "0 0.7 2",
            "Usage",
        ),
        (
            {
                "line_item_line_item_type": "RIFee",
                "reservation_unused_amortized_upfront_fee_for_billing_period": "0.25",
                "reservation_unused_recurring_fee": "0.5",
            },
            "1.5 0.75 1.5",
            "Purchase",
        ),
        (
            {"line_item_line_item_type": "Fee", "reservation_reservation_a_r_n": "arn:aws:x"},
            "1.5 0 1.5",
            "Purchase",
        ),
        ({"line_item_line_item_type": "Fee"}, "1.5 1.5 1.5", "Purchase"),
        ({"line_item_line_item_type": "Tax"}, "1.5 1.5 1.5", "Tax"),
        ({"line_item_line_item_type": "Credit"}, "1.5 1.5 1.5", "Credit"),
        ({"line_item_line_item_type": "Refund"}, "1.5 1.5 1.5", "Adjustment"),
        ({"line_item_line_item_type": "EdpDiscount"}, "1.5 1.5 1.5", "Adjustment"),
    ],
)
def test_every_kind_of_line_costs_what_aws_says_of_it(
    tmp_path: Path, line: dict[str, Any], costs: str, category: str
) -> None:
    """Costs are billed, effective and list cost."""
    row, *unused = read_csv(tmp_path, [cur2(**line)]).rows()
    names = ("billed_cost", "effective_cost", "list_cost")
    found = [sum(one[name] for one in (row, *unused)) for name in names]
    assert found == [Decimal(cost) for cost in costs.split()]
    assert row["charge_category"] == category
    assert row["charge_class"] == ("Correction" if "Refund" in line.values() else None)


def test_a_kind_of_line_that_nobody_documented_is_an_adjustment_and_is_named(
    tmp_path: Path,
) -> None:
    sums = read_csv(tmp_path, [cur2(line_item_line_item_type="Novelty")])
    assert only(sums)["charge_category"] == "Adjustment"
    assert sums.unknown_line_types == ["Novelty"]


def test_the_golden_focus_lines_come_to_their_total(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(GOLDEN.read_bytes()))
    sums = Sums("focus", NOVEMBER)
    sums.add_csv(tmp_path / "x.csv.gz", file="x", max_bytes=PLENTY)
    rows = list(sums.rows())
    assert sum(row["billed_cost"] for row in rows) == Decimal("4.5")
    assert {row["usage_date"] for row in rows} == {"2026-11-18"}
    assert sums.unknown == {"x_OrgId": 2}
    assert rows[0]["extra"] == {"x_OrgId": "acme"}


def test_a_charge_that_begins_outside_its_period_is_on_the_nearest_day(tmp_path: Path) -> None:
    starts = ("2026-10-30", "2026-11-17", "2026-12-24")
    lines = [cur2(line_item_usage_start_date=f"{start}T07:00:00Z") for start in starts]
    rows = list(read_csv(tmp_path, lines).rows())
    assert [row["usage_date"] for row in rows] == ["2026-11-01", "2026-11-17", "2026-11-21"]
    assert [row["charge_period_start"][:10] for row in rows] == list(starts)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"line_item_unblended_cost": "1,5"}, "an amount is not a number"),
        ({"line_item_unblended_cost": "NaN"}, "an amount is not a number"),
        ({"line_item_usage_amount": "many"}, "an amount is not a number"),
        ({"reservation_effective_cost": "0x1"}, "an amount is not a number"),
        ({"line_item_usage_start_date": ""}, "has no day"),
        ({"line_item_usage_start_date": "17.11.2026"}, "has no day"),
        ({"line_item_currency_code": " "}, "has no currency"),
        ({"line_item_line_item_type": ""}, "has no kind of charge"),
        ({"bill_billing_period_start_date": "2026-10-01T00:00:00Z"}, "another billing period"),
    ],
)
def test_a_line_that_means_nothing_is_a_named_error(
    tmp_path: Path, line: dict[str, Any], told: str
) -> None:
    with pytest.raises(ProviderProtocolError, match=told) as caught:
        read_csv(tmp_path, [cur2(), cur2(**line)])
    assert (caught.value.details["file"], caught.value.details["lines"]) == ("x", 1)


def test_blank_amounts_are_nothing_and_are_counted(tmp_path: Path) -> None:
    sums = read_csv(tmp_path, [cur2(), cur2(line_item_unblended_cost="")])
    assert only(sums)["billed_cost"] == Decimal("1.5")
    assert sums.counts() == {"lines_without_amount": 1}


def test_a_file_without_a_line_has_no_row(tmp_path: Path) -> None:
    sums = Sums("cur2", NOVEMBER)
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress((",".join(REQUIRED["cur2"]) + "\n").encode()))
    sums.add_csv(path, file="x", max_bytes=PLENTY)
    assert (list(sums.rows()), sums.lines, sums.invoiced) == ([], 0, False)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda b: b[:-9], "truncated"),
        (lambda b: b[: len(b) // 2], "truncated"),
        (lambda b: b"PK" + b[2:], "damaged"),
        (lambda b: b[:40] + bytes(40) + b[80:], "damaged|truncated|can't be read|no header"),
        (lambda _: b"", "no header"),
        (lambda _: gzip.compress(b"\xff\xfe,b\n"), "no header"),
        (lambda _: gzip.compress(b"a,a\n1,2\n"), "lacks the columns"),
    ],
)
def test_a_spoiled_file_is_a_named_error(tmp_path: Path, spoil: Any, told: str) -> None:
    path = write_csv(tmp_path / "x.csv.gz", [cur2(line_item_usage_amount=n) for n in range(500)])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ProviderProtocolError, match=told) as caught:
        Sums("cur2", NOVEMBER).add_csv(path, file="s3://b/x.csv.gz", max_bytes=PLENTY)
    assert caught.value.details["file"] == "s3://b/x.csv.gz"


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 and something else PAR1"])
def test_a_spoiled_parquet_file_is_a_named_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(ProviderProtocolError, match="can't be read"):
        Sums("cur2", NOVEMBER).add_parquet(tmp_path / "x.parquet", file="x")


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "x.csv.gz", [cur2()] * 2000)
    with pytest.raises(ProviderProtocolError, match="more than is allowed"):
        Sums("cur2", NOVEMBER).add_csv(path, file="x", max_bytes=10_000)


def test_a_record_of_another_width_is_a_named_error(tmp_path: Path) -> None:
    header = ",".join(REQUIRED["cur2"])
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(f"{header}\n{',' * 40}\n".encode()))
    with pytest.raises(ProviderProtocolError, match="can't be read"):
        Sums("cur2", NOVEMBER).add_csv(path, file="x", max_bytes=PLENTY)


@pytest.mark.parametrize(
    ("invoices", "costs", "invoiced"),
    [
        (["I1", "I1"], ["1", "2"], True),
        (["I1", ""], ["1", "2"], False),
        (["I1", ""], ["1", "0"], True),
        (["", ""], ["0", "0"], False),
    ],
)
def test_a_period_is_invoiced_when_all_that_costs_is(
    tmp_path: Path, invoices: list[str], costs: list[str], invoiced: bool
) -> None:
    lines = [
        cur2(bill_invoice_id=one, line_item_unblended_cost=cost)
        for one, cost in zip(invoices, costs, strict=True)
    ]
    assert read_csv(tmp_path, lines).invoiced is invoiced


def test_what_is_required_is_documented_and_no_key_is_money() -> None:
    for kind, names in REQUIRED.items():
        assert set(names) <= DOCUMENTED[kind]
    assert len(set(KEYS)) == len(KEYS)


def test_times_may_be_columns_of_their_own_type(tmp_path: Path) -> None:
    start = pl.Series([date(2026, 11, 17)]).cast(pl.Datetime("ms"))
    frame = pl.DataFrame([cur2()]).with_columns(
        line_item_usage_start_date=start,
        line_item_usage_end_date=start + timedelta(days=1),
        line_item_unblended_cost=pl.lit(Decimal("1.25")),
    )
    frame.write_parquet(tmp_path / "x.parquet")
    sums = Sums("cur2", NOVEMBER)
    sums.add_parquet(tmp_path / "x.parquet", file="x")
    row = only(sums)
    assert (row["usage_date"], row["billed_cost"]) == ("2026-11-17", Decimal("1.25"))
    assert row["charge_period_end"] == "2026-11-18T00:00:00Z"
