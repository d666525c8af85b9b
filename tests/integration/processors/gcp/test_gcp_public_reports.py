"""Google billing exports as public reports describe them; expected sums are worked out by hand.

A test's name or docstring names its report: `koku3098` is issue 3098 of project-koku/koku.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from google.cloud import bigquery

from support.processor_env import OrgEnv
from support.vendors.gcp_customer import Customer, golden_rows
from support.vendors.gcp_steps import DAYS, run_steps, sums

GOLDEN = golden_rows()[0]
ONLY_DETAILED = {"resource", "subscription"}

Row = dict[str, Any]


def export_row(day: date, cost: float, *, exported: str | None = None, **more: object) -> Row:
    """A row of usage of one hour of a day, exported on that day unless said otherwise."""
    return {
        **GOLDEN,
        "usage_start_time": f"{day}T08:00:00Z",
        "usage_end_time": f"{day}T09:00:00Z",
        "export_time": exported or f"{day}T14:00:00Z",
        "cost": cost,
        "cost_at_list": cost,
        "credits": [],
        "invoice": invoice(f"{day:%Y%m}"),
        **more,
    }


def invoice(month: str) -> Row:
    return {"month": month, "publisher_type": "GOOGLE"}


def standard(rows: list[Row]) -> list[Row]:
    """Rows as the standard export has them."""
    return [{key: row[key] for key in row if key not in ONLY_DETAILED} for row in rows]


def net_cost(org: OrgEnv) -> dict[str, Decimal]:
    return sums(org.rows("billing_cost_daily"), "usage_date")


def test_a_detailed_export_that_starts_later_keeps_the_days_before(
    account: OrgEnv, customer: Customer
) -> None:
    """A detailed export into a regional dataset is not backfilled."""
    customer.export(standard([export_row(day, 10.0) for day in DAYS]), kind="standard")
    run_steps(account, run_id="run_1")
    assert net_cost(account) == {str(day): Decimal(10) for day in DAYS}
    customer.export([export_row(date(2026, 11, 20), 10.0)], kind="detailed")
    run_steps(account, run_id="run_2")
    assert net_cost(account) == {str(day): Decimal(10) for day in DAYS}


def test_days_come_back_when_the_setting_names_the_fuller_export(
    account: OrgEnv, customer: Customer
) -> None:
    customer.export(standard([export_row(day, 10.0) for day in DAYS]), kind="standard")
    run_steps(account, run_id="run_1")
    customer.export([export_row(date(2026, 11, 20), 10.0)], kind="detailed")
    run_steps(account, run_id="run_2")
    run_steps(account, run_id="run_3", export_kind="standard")
    assert net_cost(account) == {str(day): Decimal(10) for day in DAYS}


def test_a_correction_of_an_expired_day_is_added_to_what_was_published(
    account: OrgEnv, customer: Customer
) -> None:
    """The rows of 1 October have expired; a correction of -1 for that day arrives."""
    old = date(2026, 10, 1)
    days = [export_row(day, 10.0) for day in DAYS]
    exported = customer.export([export_row(old, 100.0, exported="2026-10-02T05:00:00Z"), *days])
    run_steps(account, days=[old], run_id="run_1", date="2026-10-01")
    assert net_cost(account)[str(old)] == 100
    table = f"`{customer.project}.billing_export.{exported['table']}`"
    customer.client.query_and_wait(f"DELETE FROM {table} WHERE DATE(export_time) < '2026-11-01'")
    adjustment = {
        "id": "a1",
        "description": "x",
        "mode": "MANUAL_ADJUSTMENT",
        "type": "GENERAL_ADJUSTMENT",
    }
    correction = export_row(
        old,
        -1.0,
        exported="2026-11-20T05:00:00Z",
        adjustment_info=adjustment,
        invoice=invoice("202611"),
    )
    customer.export([correction])
    run_steps(account, run_id="run_2")
    assert net_cost(account)[str(old)] == 99


def test_a_day_that_stays_with_its_export_takes_its_late_rows(
    account: OrgEnv, customer: Customer
) -> None:
    customer.export(standard([export_row(day, 10.0) for day in DAYS]), kind="standard")
    run_steps(account, run_id="run_1")
    customer.export([export_row(DAYS[-1], 12.0)], kind="detailed")
    customer.export(
        standard([export_row(DAYS[0], 1.0, exported="2026-11-21T05:00:00Z")]), kind="standard"
    )
    run_steps(account, run_id="run_2")
    found = net_cost(account)
    assert [int(found[str(DAYS[day])]) for day in (0, 1, -1)] == [11, 10, 12]


@pytest.mark.parametrize("again", [False, True])
def test_a_table_that_is_emptied_or_made_again_changes_nothing_and_is_reported(
    account: OrgEnv, customer: Customer, *, again: bool
) -> None:
    exported = customer.export([export_row(day, 10.0) for day in DAYS])
    run_steps(account, run_id="run_1")
    place = f"{customer.project}.billing_export.{exported['table']}"
    if again:
        customer.client.delete_table(place)
        customer.export([export_row(DAYS[-1], 4.0, exported="2026-11-21T04:00:00Z")])
    else:
        customer.client.query_and_wait(f"DELETE FROM `{place}` WHERE TRUE")
    copied, _ = run_steps(account, run_id="run_2")
    assert net_cost(account) == {str(day): Decimal(10) for day in DAYS}
    assert copied.details["days_with_kept_rows"] == [str(day) for day in DAYS]


def test_bqutils289_two_credits_of_a_row_do_not_repeat_its_cost(
    account: OrgEnv, customer: Customer
) -> None:
    amounts = {"COMMITTED_USAGE_DISCOUNT": -3.0, "PROMOTION": -2.0, "SOMETHING_NEW": -1.0}
    granted = [
        {"name": kind, "amount": amount, "full_name": "", "id": kind, "type": kind}
        for kind, amount in amounts.items()
    ]
    customer.export([export_row(DAYS[1], 10.0, credits=granted)])
    run_steps(account)
    (row,) = account.rows("billing_cost_daily")
    assert (row["cost"], row["credits"], row["net_cost"]) == (10, -6, 4)
    assert row["credits_other"] == -1


def test_koku3098_a_day_may_belong_to_several_invoice_months(
    account: OrgEnv, customer: Customer
) -> None:
    day = date(2026, 11, 16)
    months = {"202611": 4.0, "202612": 6.0, "202610": 1.0}
    customer.export(
        [export_row(day, cost, invoice=invoice(month)) for month, cost in months.items()]
    )
    run_steps(account)
    assert sums(account.rows("billing_cost_daily"), "invoice_month") == months
    shown = account.rows("cost_daily_by_basis", "WHERE x_Provider = 'gcp'")
    assert sum(row["BilledCost"] for row in shown) == 11


def test_optscale548_two_currencies_have_two_totals(account: OrgEnv, customer: Customer) -> None:
    rupiah = export_row(DAYS[0], 163500.123456, currency="IDR", currency_conversion_rate=16350.0)
    customer.export([rupiah, export_row(DAYS[0], 10.0)])
    _, summed = run_steps(account)
    assert summed.details["net_cost"] == {"IDR": "163500.123456", "USD": "10"}


def test_optscale833_the_export_may_be_named_by_its_table(
    account: OrgEnv, customer: Customer
) -> None:
    exported = customer.export([export_row(DAYS[0], 10.0)])
    run_steps(account, export_dataset="billing_export", export_table=exported["table"])
    assert net_cost(account) == {str(DAYS[0]): 10}


def test_opencost2680_the_export_may_be_a_view(account: OrgEnv, customer: Customer) -> None:
    """A view has no pseudo-column of its partition's time."""
    exported = customer.export([export_row(DAYS[0], 10.0)])
    dataset = f"{customer.project}.billing_export"
    view = bigquery.Table(f"{dataset}.unified")
    view.view_query = f"SELECT * FROM `{dataset}.{exported['table']}`"
    customer.client.create_table(view)
    run_steps(account, export_dataset="billing_export", export_table="unified")
    assert net_cost(account) == {str(DAYS[0]): 10}


def test_tiny_costs_of_a_detailed_export_add_up(account: OrgEnv, customer: Customer) -> None:
    """A thousand rows of 4e-10 are 4e-7."""
    tiny = [export_row(DAYS[0], 4e-10) for _ in range(1000)]
    customer.export([*tiny, export_row(DAYS[0], 1.0)])
    run_steps(account)
    assert net_cost(account)[str(DAYS[0])] == Decimal("1.0000004")


def test_tiny_costs_of_many_resources_add_up(account: OrgEnv, customer: Customer) -> None:
    """Each resource has a row of its own; together they have the exact sum."""
    rows = [
        export_row(DAYS[0], 4e-10, resource={"name": f"vm-{number}", "global_name": None})
        for number in range(100)
    ]
    customer.export(rows)
    run_steps(account)
    assert len(account.rows("billing_cost_daily")) == 100
    assert net_cost(account)[str(DAYS[0])] == Decimal("4e-8")


def test_what_allocation_needs_reaches_the_costs(account: OrgEnv, customer: Customer) -> None:
    """Labels, the project's labels, tags, resource, zone and rate; labels in any order."""
    labels = [{"key": "team", "value": 'a "b"'}, {"key": "env", "value": "dev"}]
    more: Row = {
        "project": {**GOLDEN["project"], "labels": [{"key": "team", "value": "p"}]},
        "system_labels": [{"key": "compute.googleapis.com/cores", "value": "4"}],
        "tags": [{"key": "cc", "value": "1", "inherited": True, "namespace": "123"}],
        "resource": {"name": "vm-1", "global_name": "//compute/vm-1"},
        "currency_conversion_rate": 1.0,
    }
    customer.export(
        [
            export_row(DAYS[0], 1.0, labels=labels, **more),
            export_row(DAYS[0], 2.0, labels=labels[::-1], **more),
            export_row(DAYS[0], 4.0, labels=[], **{**more, "tags": [], "system_labels": []}),
        ]
    )
    run_steps(account)
    rows = {row["net_cost"]: row for row in account.rows("billing_cost_daily")}
    assert set(rows) == {3, 4}
    assert json.loads(rows[3]["tags"]) == {
        "team": 'a "b"',
        "env": "dev",
        "compute.googleapis.com/cores": "4",
        "project/team": "p",
        "123/cc": "1",
    }
    assert json.loads(rows[4]["tags"]) == {"project/team": "p"}
    assert (rows[3]["resource_global_name"], rows[3]["currency_conversion_rate"]) == (
        "//compute/vm-1",
        1,
    )
    shown = account.rows("gcp_billing_source", "WHERE BilledCost = 3")
    assert [row["Tags"] for row in shown] == [rows[3]["tags"]]
    assert shown[0]["x_BillingAccountId"] == GOLDEN["billing_account_id"]
    assert shown[0]["ResourceId"] == "//compute/vm-1"


def test_large_and_small_floats_of_a_day_are_added_exactly(
    account: OrgEnv, customer: Customer
) -> None:
    customer.export([export_row(DAYS[0], cost) for cost in (0.1, 0.2, 1e15)])
    run_steps(account)
    assert net_cost(account)[str(DAYS[0])] == Decimal("1000000000000000.3")


def test_a_renamed_project_keeps_all_its_cost(account: OrgEnv, customer: Customer) -> None:
    renamed = {**GOLDEN["project"], "name": "renamed"}
    customer.export([export_row(DAYS[0], 1.0), export_row(DAYS[0], 2.0, project=renamed)])
    run_steps(account)
    assert net_cost(account)[str(DAYS[0])] == 3
