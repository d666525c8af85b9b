"""Lines of AWS exports as public bug reports describe them; expected sums are worked out by hand.

A test's name or docstring names its report: `koku5252` is issue 5252 of project-koku/koku.
"""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convergence.errors import ProviderProtocolError
from convergence.processors.aws import line_sums
from convergence.processors.aws.normalise import Month, Sums
from support.vendors.aws_lines import cur2, focus, write_csv

NOVEMBER = Month(date(2026, 11, 1), date(2026, 11, 21))
PLAN = "arn:aws:savingsplans::111122223333:savingsplan/abc"
PLENTY = 10**9


def plan_line(line_type: str, amount: str) -> dict[str, object]:
    """A charge for the plan itself."""
    return cur2(
        line_item_line_item_type=line_type,
        line_item_product_code="ComputeSavingsPlans",
        line_item_unblended_cost=amount,
        savings_plan_savings_plan_a_r_n=PLAN,
        savings_plan_start_time="2026-11-10T00:00:00.000Z",
        savings_plan_end_time="2026-11-12T00:00:00.000Z",
    )


def read_lines(
    folder: Path,
    lines: list[dict[str, object]],
    *,
    kind: Any = "cur2",
    sums: Sums | None = None,
    name: str = "part",
) -> Sums:
    """Read lines as one CSV file of an export, added to `sums`."""
    path = write_csv(folder / f"{name}.csv.gz", lines)
    sums = sums or Sums(kind, NOVEMBER)
    sums.add_csv(path, file=name, max_bytes=PLENTY)
    return sums


def total(sums: Sums, column: str) -> Decimal:
    return sum((row[column] for row in sums.rows()), Decimal(0))


def totals(sums: Sums, *columns: str) -> tuple[object, ...]:
    return tuple(total(sums, column) for column in columns)


def test_cid1087_a_savings_plan_that_is_returned_costs_nothing(tmp_path: Path) -> None:
    """An upfront fee of 8,760 is paid and refunded; nothing of the plan was used."""
    sums = read_lines(
        tmp_path,
        [
            plan_line("SavingsPlanUpfrontFee", "8760"),
            plan_line("Refund", "-8760"),
            cur2(line_item_unblended_cost="100"),
        ],
    )
    assert total(sums, "billed_cost") == 100
    assert total(sums, "effective_cost") == 100


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"line_item_line_item_description": "Refund for one-time fee for Savings Plan ID: a"},
        {
            "line_item_line_item_description": "Refund for one-time fee for Savings Plan ID: a",
            "savings_plan_savings_plan_a_r_n": "",
        },
    ],
)
def test_cid1515_a_return_is_known_by_its_plan_or_its_description(
    tmp_path: Path, named: dict[str, object]
) -> None:
    refund = plan_line("Refund", "-8760") | named
    sums = read_lines(tmp_path, [plan_line("SavingsPlanUpfrontFee", "8760"), refund])
    assert totals(sums, "billed_cost", "effective_cost") == (0, 0)


@pytest.mark.parametrize(
    "description", ["EDP discount refund", "Enterprise Program Discount", "Refund of recurring fee"]
)
def test_cid1497_a_refund_of_a_discount_stays(tmp_path: Path, description: str) -> None:
    """Discounts of a contract may be attributed to a plan or to the plans' product."""
    refund = plan_line("Refund", "-8") | {"line_item_line_item_description": description}
    without_plan = refund | {"savings_plan_savings_plan_a_r_n": ""}
    discount = plan_line("EdpDiscount", "-1")
    sums = read_lines(tmp_path, [refund, without_plan, discount])
    assert totals(sums, "billed_cost", "effective_cost") == (-17, -17)


def test_a_returned_reservation_costs_nothing(tmp_path: Path) -> None:
    fee = cur2(
        line_item_line_item_type="Fee",
        line_item_unblended_cost="500",
        reservation_reservation_a_r_n="arn:aws:ec2:eu-west-1:1:reserved-instances/a",
    )
    refund = fee | {"line_item_line_item_type": "Refund", "line_item_unblended_cost": "-500"}
    sums = read_lines(tmp_path, [fee, refund, cur2(line_item_unblended_cost="100")])
    assert totals(sums, "billed_cost", "effective_cost") == (100, 100)


def test_the_unused_part_of_a_plan_is_a_row_of_its_own(tmp_path: Path) -> None:
    """Of a commitment of 10 a quarter is unused; the fee is listed once."""
    fee = plan_line("SavingsPlanRecurringFee", "10") | {
        "savings_plan_total_commitment_to_date": "10",
        "savings_plan_used_commitment": "7.5",
    }
    rows = {row["commitment_status"]: row for row in read_lines(tmp_path, [fee]).rows()}
    assert {
        status: [row[name] for name in ("charge_category", "billed_cost", "effective_cost")]
        for status, row in rows.items()
    } == {None: ["Purchase", 10, 0], "Unused": ["Usage", 0, Decimal("2.5")]}
    assert [rows[status]["list_cost"] for status in (None, "Unused")] == [10, 0]
    assert {row["commitment_id"] for row in rows.values()} == {PLAN}
    assert sum(row["line_count"] for row in rows.values()) == 1


def test_wa991_a_reservation_fee_counts_only_its_unused_part_as_effective(tmp_path: Path) -> None:
    sums = read_lines(
        tmp_path,
        [
            cur2(
                line_item_line_item_type="RIFee",
                line_item_unblended_cost="72",
                reservation_reservation_a_r_n="a",
                reservation_unused_amortized_upfront_fee_for_billing_period="14",
                reservation_unused_recurring_fee="3",
            )
        ],
    )
    assert totals(sums, "billed_cost", "effective_cost") == (72, 17)


def covered_usage_with_its_negation(folder: Path) -> Sums:
    covered = cur2(
        line_item_line_item_type="SavingsPlanCoveredUsage",
        line_item_unblended_cost="2",
        line_item_usage_amount="1",
        savings_plan_savings_plan_effective_cost="1.2",
        pricing_public_on_demand_cost="2",
    )
    negation = cur2(
        line_item_line_item_type="SavingsPlanNegation",
        line_item_unblended_cost="-2",
        line_item_usage_amount="1",
    )
    return read_lines(folder, [covered, negation])


def test_koku5252_a_negation_cancels_the_covered_cost(tmp_path: Path) -> None:
    sums = covered_usage_with_its_negation(tmp_path)
    assert total(sums, "billed_cost") == 0
    assert total(sums, "effective_cost") == Decimal("1.2")
    assert total(sums, "list_cost") == 2


def test_koku5252_a_negation_does_not_double_the_quantity(tmp_path: Path) -> None:
    rows = covered_usage_with_its_negation(tmp_path).rows()
    assert sum(row["usage_quantity"] for row in rows if row["charge_category"] == "Usage") == 1


def test_what_allocation_needs_is_kept(tmp_path: Path) -> None:
    line = cur2(
        line_item_resource_id="i-1",
        line_item_availability_zone="eu-west-1a",
        product_region_code="eu-west-1",
        product_location="EU (Ireland)",
        resource_tags='{"user_team":"search","aws_x":"","user_Stage":"dev"}',
        cost_category='{"unit":"a"}',
        bill_invoice_id="42",
        pricing_unit="Hrs",
        line_item_line_item_type="SavingsPlanCoveredUsage",
        savings_plan_savings_plan_effective_cost="1",
        savings_plan_savings_plan_a_r_n=PLAN,
    )
    other = line | {"resource_tags": '{"user_Stage":"dev","user_team":"ads"}'}
    same = line | {"resource_tags": '{"user_Stage": "dev", "user_team": "search"}'}
    rows = list(read_lines(tmp_path, [line, other, same]).rows())
    assert {row["tags"]: row["billed_cost"] for row in rows} == {
        '{"user_Stage":"dev","user_team":"search"}': 3,
        '{"user_Stage":"dev","user_team":"ads"}': Decimal("1.5"),
    }
    row = rows[0]
    assert (row["resource_id"], row["region"], row["region_name"], row["availability_zone"]) == (
        *("i-1", "eu-west-1", "EU (Ireland)"),
        "eu-west-1a",
    )
    assert (row["unit"], row["invoice_id"], row["cost_categories"]) == ("Hrs", "42", '{"unit":"a"}')
    assert [row[f"commitment_{name}"] for name in ("id", "type", "category", "status")] == [
        *(PLAN, "Savings Plan", "Spend"),
        "Used",
    ]


def test_rows_add_up_to_their_exact_sum_rounded_once(tmp_path: Path) -> None:
    """A thousand resources of 4e-10 are 4e-7."""
    lines = [
        cur2(line_item_unblended_cost="4e-10", line_item_resource_id=f"i-{number}")
        for number in range(1000)
    ]
    sums = read_lines(tmp_path, lines)
    assert total(sums, "billed_cost") == Decimal("4e-7")
    assert len(list(sums.rows())) == 1000


def test_sums_that_memory_does_not_take_are_added_up_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(day: int) -> list[dict[str, object]]:
        start = f"2026-11-{day:02d}T00:00:00.000Z"
        return [
            cur2(line_item_usage_start_date=start, line_item_resource_id=f"i-{number}")
            for number in range(20)
        ]

    monkeypatch.setattr(line_sums, "MAX_ROWS", 30)
    stored, held = Sums("cur2", NOVEMBER, folder=tmp_path / "sums"), Sums("cur2", NOVEMBER)
    for number, day in enumerate((3, 2, 3, 1, 2)):
        for sums in (stored, held):
            read_lines(tmp_path, lines(day), sums=sums, name=f"{number}")
    monkeypatch.setattr(line_sums, "MAX_ROWS", 10**6)
    assert list((tmp_path / "sums").glob("*.parquet"))
    assert list(stored.rows()) == list(held.rows())
    assert total(stored, "billed_cost") == 150


def test_two_currencies_stay_apart(tmp_path: Path) -> None:
    lines = [cur2(), cur2(line_item_currency_code="CNY", line_item_unblended_cost="7")]
    sums = read_lines(tmp_path, lines)
    assert {row["currency"]: row["billed_cost"] for row in sums.rows()} == {
        "USD": Decimal("1.5"),
        "CNY": 7,
    }


def test_a_currency_in_lower_case_is_the_same_currency(tmp_path: Path) -> None:
    sums = read_lines(tmp_path, [cur2(), cur2(line_item_currency_code="usd")])
    assert {row["currency"] for row in sums.rows()} == {"USD"}


def test_a_column_that_appears_in_the_second_file_is_counted(tmp_path: Path) -> None:
    sums = read_lines(tmp_path, [cur2()], name="a")
    wider = cur2(line_item_net_unblended_cost="1.2", split_line_item_split_cost="", brand_new="z")
    read_lines(tmp_path, [wider], sums=sums, name="b")
    assert total(sums, "billed_cost") == 3
    assert sums.unknown == {"brand_new": 1}


def test_quotes_line_breaks_and_backslashes_stay_in_their_line(tmp_path: Path) -> None:
    odd = cur2(
        line_item_line_item_description='a "quoted", line\nbreak \\ end',
        resource_tags='{"user_a":"b,\\"c\\"\n"}',
    )
    sums = read_lines(tmp_path, [odd, cur2()])
    assert total(sums, "billed_cost") == 3
    assert sums.lines == 2


def parquet_line(money: pa.DataType, stamp: pa.DataType) -> pa.Table:
    """A FOCUS line of 0.1 whose amounts and timestamps have the given types."""
    columns: dict[str, Any] = {}
    for name, value in focus().items():
        if name in {"BilledCost", "EffectiveCost", "ListCost", "ContractedCost"}:
            amount = Decimal("0.1") if pa.types.is_decimal(money) else 0.1
            columns[name] = pa.array([amount], money)
        elif name in {"BillingPeriodStart", "ChargePeriodStart"}:
            day = 1 if name == "BillingPeriodStart" else 17
            columns[name] = pa.array([datetime(2026, 11, day, tzinfo=UTC)], stamp)
        else:
            columns[name] = pa.array([None], pa.null()) if value == "" else pa.array([value])
    columns["Tags"] = pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string()))
    columns["x_Discounts"] = pa.array([[("k", 1.0)]], pa.map_(pa.string(), pa.float64()))
    return pa.table(columns)


def test_spec679_parquet_types_of_money_and_time_may_differ_by_file(tmp_path: Path) -> None:
    sums = Sums("focus", NOVEMBER)
    types = [
        (pa.float64(), pa.timestamp("ms")),
        (pa.decimal128(38, 18), pa.timestamp("ns", "UTC")),
        (pa.float32(), pa.timestamp("us", "UTC")),
    ]
    for number, (money, stamp) in enumerate(types):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(parquet_line(money, stamp), path)
        sums.add_parquet(path, file=path.name)
    assert total(sums, "billed_cost") == Decimal("0.3")
    assert {row["usage_date"] for row in sums.rows()} == {"2026-11-17"}


def test_tags_of_parquet_are_those_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(parquet_line(pa.float64(), pa.timestamp("ms")), path)
    sums = Sums("focus", NOVEMBER)
    sums.add_parquet(path, file=path.name)
    read_lines(tmp_path, [focus(Tags='{"k": "v"}')], kind="focus", sums=sums)
    assert {row["tags"] for row in sums.rows()} == {'{"k":"v"}'}


def test_ice138_a_refund_reduces_the_bill(tmp_path: Path) -> None:
    refund = cur2(line_item_line_item_type="Refund", line_item_unblended_cost="-0.844161")
    sums = read_lines(tmp_path, [refund, cur2()])
    assert total(sums, "billed_cost") == Decimal("0.655839")


def test_ice138_a_refund_without_a_day_is_refused(tmp_path: Path) -> None:
    refund = cur2(
        line_item_line_item_type="Refund",
        line_item_usage_start_date="",
        line_item_unblended_cost="-12",
    )
    with pytest.raises(ProviderProtocolError):
        read_lines(tmp_path, [refund])


def test_focus_amounts_that_may_be_null_are_no_error(tmp_path: Path) -> None:
    sums = read_lines(tmp_path, [focus(ListCost="", ContractedCost="")], kind="focus")
    assert totals(sums, "billed_cost", "list_cost") == (Decimal("1.5"), 0)


def test_a_focus_commitment_is_billed_once_and_effective_when_used(tmp_path: Path) -> None:
    purchase = focus(
        ChargeCategory="Purchase", BilledCost="1000", EffectiveCost="0", ChargeFrequency="One-Time"
    )
    used = focus(BilledCost="0", EffectiveCost="2.74")
    sums = read_lines(tmp_path, [purchase, used], kind="focus")
    assert totals(sums, "billed_cost", "effective_cost") == (1000, Decimal("2.74"))


def test_a_marketplace_contract_names_its_seller(tmp_path: Path) -> None:
    contract = cur2(
        line_item_line_item_type="Fee",
        bill_billing_entity="AWS Marketplace",
        line_item_legal_entity="Vendor, Inc.",
        line_item_product_code="abcd1234",
        line_item_unblended_cost="12000",
    )
    (row,) = read_lines(tmp_path, [contract]).rows()
    assert row["publisher"] == "Vendor, Inc."
    assert (row["effective_cost"], row["charge_category"]) == (12000, "Purchase")


def test_padded_numbers_and_blank_text_are_read(tmp_path: Path) -> None:
    line = cur2(line_item_unblended_cost=" 1.5 ", product_region_code=" ")
    assert total(read_lines(tmp_path, [line]), "billed_cost") == Decimal("1.5")


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    line = cur2()
    text = "\ufeff" + ",".join(line) + "\r\n" + ",".join(map(str, line.values())) + "\r\n"
    path = tmp_path / "crlf.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    sums = Sums("cur2", NOVEMBER)
    sums.add_csv(path, file="crlf", max_bytes=PLENTY)
    assert total(sums, "billed_cost") == Decimal("1.5")
    assert sums.lines == 1
