"""AWS's exports through real boto3 from moto's S3 to the org's table, against independent sums."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from convergence.runs.slices import Finality
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import lines
from support.processor_env import OrgEnv
from support.vendors.aws_customer import (
    BOTH,
    DUE,
    NANO,
    NOVEMBER,
    OCTOBER,
    TABLE,
    TODAY,
    Customer,
    by_day,
    sums,
)


@pytest.mark.parametrize("export", list(exports.EXPORTS))
def test_every_form_of_export_comes_to_what_was_charged(org: OrgEnv, export: str) -> None:
    one = Customer(org, export)
    charges = one.deliver_all(*BOTH)
    result = one.run()
    assert result.details["periods_loaded"] == ["2026-10", "2026-11"]
    assert result.details["lines_read"] == len(charges)
    assert result.details["days_published"] == 38
    rows = one.rows()
    # Each row is rounded once, so a day's total may differ by half of the last digit per row.
    near = NANO / 2 * len(rows)
    for column, amount in (
        ("billed_cost", lambda line: line.billed),
        ("effective_cost", lambda line: line.effective),
        ("list_cost", lambda line: line.listed),
    ):
        expected, found = sums(charges, amount), by_day(rows, column)
        assert expected.keys() == found.keys()
        for day, total in expected.items():
            assert abs(found[day] - total) <= near, (column, day)
    assert {row["charge_category"] for row in rows} == {
        *("Usage", "Purchase", "Tax", "Credit", "Adjustment")
    }
    assert sum(row["line_count"] for row in rows) == len(charges)


def test_the_bill_is_in_cost_daily_and_only_there_on_the_billed_basis(customer: Customer) -> None:
    charges = customer.deliver_all(*BOTH)
    customer.run()
    shown = customer.org.rows("cost_daily_by_basis", "WHERE x_Provider = 'aws'")
    assert {(row["x_Basis"], row["BillingCurrency"]) for row in shown} == {("billed", "USD")}
    total = sum((line.billed for line in charges), Decimal(0))
    assert abs(sum(row["BilledCost"] for row in shown) - total) < NANO * len(charges)


def test_an_invoice_makes_a_period_final_whatever_the_calendar_says(customer: Customer) -> None:
    customer.deliver_all(*BOTH)
    assert customer.run().details["periods_invoiced"] == ["2026-10"]
    told = {day: row.finality for day, row in customer.slices().items()}
    assert {told[day] for day in told if day < NOVEMBER} == {Finality.FINAL}
    assert {told[day] for day in told if day >= NOVEMBER} == {Finality.SETTLING}
    # Looked at again, a final day stays final, though the calendar would have it settle.
    customer.run([date(2026, 10, 30)], run_id="run_2")
    assert customer.slices()[date(2026, 10, 30)].finality is Finality.FINAL


def test_a_second_run_reads_no_file_and_confirms_what_is_due(customer: Customer) -> None:
    customer.deliver_all()
    customer.run()
    before = {day: row.job_id for day, row in customer.slices().items()}
    again = customer.run(run_id="run_2", today=TODAY)
    assert again.details["periods_loaded"] == []
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, 7)
    assert again.details["days_without_export"] == len(DUE) - 7
    assert {day: row.job_id for day, row in customer.slices().items()} == before


def test_a_rewritten_month_is_loaded_whole_and_its_changed_days_published(
    customer: Customer,
) -> None:
    customer.deliver_all()
    customer.run()
    tomorrow = TODAY + timedelta(days=1)
    november = list(lines(customer.seed, NOVEMBER, as_of=tomorrow))
    customer.deliver(NOVEMBER, november)
    result = customer.run([TODAY], run_id="run_2", today=tomorrow)
    assert result.details["periods_loaded"] == ["2026-11"]
    # The day that was incomplete, and the new one.
    assert result.details["days_published"] == 2
    assert result.details["days_unchanged"] == 6
    found = by_day(customer.rows("WHERE usage_date >= '2026-11-01'"), "billed_cost")
    for day, total in sums(november, lambda line: line.billed).items():
        assert abs(found[day] - total) < NANO * 40


def test_a_final_month_that_changes_is_restated_with_both_totals(customer: Customer) -> None:
    told = customer.deliver_all(OCTOBER)
    customer.run()
    changed = date(2026, 10, 5)
    before = customer.slices()[changed]
    october = [
        replace(line, billed=line.billed + 1) if line.day == changed else line for line in told
    ]
    customer.deliver(OCTOBER, october)
    # A day that is final is not due: another one brings the run.
    result = customer.run([TODAY - timedelta(days=1)], run_id="run_2")
    assert result.details["periods_loaded"] == ["2026-10"]
    after = customer.slices()
    assert {day for day, row in after.items() if row.finality is Finality.RESTATED} == {changed}
    (old,), (new,) = before.totals, after[changed].totals
    count = sum(line.day == changed for line in told)
    assert new.amount - old.amount == count


def test_of_deliveries_that_are_kept_the_one_in_the_manifest_counts(customer: Customer) -> None:
    charges = list(lines(customer.seed, NOVEMBER, as_of=TODAY))
    doubled = [replace(line, billed=line.billed * 2) for line in charges]
    at = f"exports/{customer.export}/data/BILLING_PERIOD=2026-11"
    for execution, told in (("20261120T000000Z-a", charges), ("20261121T000000Z-b", doubled)):
        (_, body), *_ = exports.period(customer.bucket, customer.export, NOVEMBER, told, files=1)
        customer.put(f"{at}/{execution}/{customer.export}-00001.csv.gz", body)
    newest = f"{at}/20261121T000000Z-b/{customer.export}-00001.csv.gz"
    customer.put(
        f"exports/{customer.export}/metadata/BILLING_PERIOD=2026-11/{customer.export}-Manifest.json",
        json.dumps({"dataFiles": [f"s3://{customer.bucket}/{newest}"]}).encode(),
    )
    assert customer.run().details["lines_read"] == len(charges)
    total = sum(by_day(customer.rows(), "billed_cost").values(), Decimal(0))
    assert abs(total - sum((line.billed for line in doubled), Decimal(0))) < NANO * len(charges)


def test_a_partition_that_somebody_else_wrote_is_loaded_again(customer: Customer) -> None:
    customer.deliver_all()
    customer.run()
    day = date(2026, 11, 5)
    total = by_day(customer.rows(), "billed_cost")[day]
    customer.org.env.ask(f"DELETE FROM {customer.org.table(TABLE)} WHERE usage_date = '{day}'")
    assert customer.run(run_id="run_2").details["periods_loaded"] == ["2026-11"]
    assert by_day(customer.rows(), "billed_cost")[day] == total


def test_a_role_reads_as_a_key_does(customer: Customer) -> None:
    customer.deliver_all()
    customer.org.env.keys[customer.org.slug] = json.dumps(keys.role(customer.seed))
    assert customer.run().details["periods_loaded"] == ["2026-11"]
