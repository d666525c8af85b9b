"""`gcp.bq_etl` and `gcp.billing_cost` with real clients: from a customer's export to daily cost."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from google.api_core import exceptions as google_errors
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
    BigQueryReadGrpcTransport,
)

from convergence.errors import (
    RetryableError,
)
from convergence.processors.gcp.access import AccountCredentials
from convergence.processors.gcp.channel import bearing_channel
from convergence.processors.gcp.config import BqEtlConfig
from convergence.processors.lib.daily.slices import publish_content
from convergence.providers.google import BIGQUERY, ServiceAccount
from convergence.runs.slices import Finality
from convergence.warehouse import bulk_read
from convergence_sandbox.providers.google.accounts import service_account
from convergence_sandbox.providers.google.billing import exported
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer, golden_rows, golden_totals
from support.vendors.gcp_steps import (
    BILLING,
    DAYS,
    FAR_BACK,
    decimals,
    hashes,
    loads,
    run_steps,
    sums,
)


def test_the_recorded_export_comes_to_its_totals(account: OrgEnv, customer: Customer) -> None:
    customer.export(golden_rows())
    _, summed = run_steps(account, config=BqEtlConfig(overlap_days=30))
    expected = golden_totals()

    assert len(account.rows("gcp_billing_daily_raw")) == expected["row_count"]
    rows = account.rows("billing_cost_daily")
    assert sum(row["net_cost"] for row in rows) == Decimal(expected["net_total"])
    assert summed.details["net_cost"] == {"USD": expected["net_total"]}
    assert sums(rows, "usage_date") == decimals(expected["net_by_usage_day_utc"])
    assert sums(rows, "usage_date_pacific") == decimals(expected["net_by_usage_day_us_pacific"])
    assert sums(rows, "invoice_month") == decimals(expected["net_by_invoice_month"])
    assert sums(rows, "cost_type", "cost") == decimals(expected["gross_by_cost_type"])
    by_project = {
        name.replace("(no project)", "None"): amount
        for name, amount in expected["net_by_project"].items()
    }
    assert sums(rows, "project_id") == decimals(by_project)
    by_type = {
        "COMMITTED_USAGE_DISCOUNT": sum(row["credits_committed_use"] for row in rows),
        "FREE_TIER": sum(row["credits_free_tier"] for row in rows),
        "PROMOTION": sum(row["credits_promotion"] for row in rows),
        "SUSTAINED_USAGE_DISCOUNT": sum(row["credits_sustained_use"] for row in rows),
    }
    assert by_type == decimals(expected["credits_by_type"])
    assert sum(row["credits_other"] for row in rows) == 0
    late = [
        row
        for row in rows
        if row["invoice_month"] == "202611" and row["usage_date"] < date(2026, 11, 1)
    ]
    total = expected["corrections_and_late_on_202611"]["total"]
    assert sum(row["net_cost"] for row in late) == Decimal(total)


def test_the_storage_read_api_gives_the_same_rows_as_pages(
    account: OrgEnv, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.export(golden_rows())
    run_steps(account, config=FAR_BACK)
    by_pages = hashes(account)
    assert len(by_pages) == len(DAYS) + 4

    read, streams = BigQueryReadClient.read_rows, []

    def counted(*given: Any, **named: Any) -> Any:
        streams.append(named)
        return cast("Any", read)(*given, **named)

    monkeypatch.setattr(BigQueryReadClient, "read_rows", counted)
    monkeypatch.setattr(bulk_read, "PAGE_ROWS", 1)
    other = account.env.new_org()
    customer.connect(other)
    run_steps(other.served_by(bigquery_storage_emulator_host=customer.sandbox.kms), config=FAR_BACK)
    assert hashes(other) == by_pages
    assert len(streams) == 2, "one for the days far back, one for those that are due"


def test_without_the_right_to_stream_pages_are_read(
    account: OrgEnv,
    customer: Customer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    customer.export(golden_rows())
    monkeypatch.setattr(bulk_read, "PAGE_ROWS", 1)
    reader = AccountCredentials(
        ServiceAccount.parse(json.dumps(service_account("somebody_else"))),
        scopes=[BIGQUERY],
        settings=account.env.settings,
    )
    channel = bearing_channel(customer.sandbox.kms, reader)
    client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    monkeypatch.setattr(
        "convergence.processors.gcp.billing_export.storage_reader", lambda *_, **__: client
    )
    with caplog.at_level("INFO", logger="convergence.warehouse.bulk_read"):
        _, summed = run_steps(account, config=FAR_BACK)
    assert summed.details["net_cost"] == {"USD": "40.875"}
    assert "reading pages instead" in caplog.text


def test_late_rows_rebuild_the_days_they_touch_and_no_others(
    account: OrgEnv, customer: Customer
) -> None:
    expected, cut = golden_totals(), "2026-11-18T00:00:00Z"
    early = [row for row in golden_rows() if row["export_time"] < cut]
    customer.export(early)
    first = account.at(datetime(2026, 11, 18, 6, tzinfo=UTC))
    run_steps(first, days=[date(2026, 11, day) for day in range(13, 18)], config=FAR_BACK)
    seen = sums(account.rows("billing_cost_daily"), "usage_date")
    assert seen == decimals(expected["net_exported_before_2026-11-18T00Z"])

    customer.export([row for row in golden_rows() if row["export_time"] >= cut])
    copied, _ = run_steps(account, run_id="run_2")
    assert copied.details["days_touched"] == ["2026-11-01"]
    seen = sums(account.rows("billing_cost_daily"), "usage_date")
    assert seen == decimals(expected["net_by_usage_day_utc"])
    ledger = account.env.services.ledger.read_latest(
        orgs=[account.slug], pipeline_id=BILLING.pipeline_id
    )
    newest = {
        (key.table, key.day): (row.run_id, row.finality, [one.amount for one in row.totals])
        for key, row in ledger.items()
    }
    for table in ("gcp_billing_daily_raw", "billing_cost_daily"):
        restated = newest[table, date(2026, 11, 1)]
        assert restated == ("run_2", Finality.RESTATED, [Decimal("32.26")])
        assert newest[table, date(2026, 11, 12)][0] == "run_1"


def test_running_again_reads_but_publishes_nothing(account: OrgEnv, customer: Customer) -> None:
    customer.export(golden_rows())
    run_steps(account, config=FAR_BACK)
    before = loads(account)
    copied, summed = run_steps(account, run_id="run_2", config=FAR_BACK)
    assert loads(account) == before
    assert (copied.details["days_published"], copied.details["days_touched"]) == (0, [])
    assert summed.details["days_published"] == 0


def test_rows_that_look_alike_add_up(account: OrgEnv, customer: Customer) -> None:
    row = golden_rows()[0]
    customer.export([row, row, row])
    run_steps(account)
    (line,) = account.rows("billing_cost_daily")
    assert (line["cost"], line["net_cost"], line["export_rows"]) == (
        Decimal("5.7"),
        Decimal("3.6"),
        3,
    )


def test_made_up_exports_agree_with_a_sum_of_their_own(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    customer, as_of = Customer(sandbox, "acme_corp"), datetime(2026, 11, 21, 6, tzinfo=UTC)
    customer.connect(org)
    customer.export_days("2026-10-20", "2026-11-20", as_of.isoformat(), kind="standard")
    run_steps(org)
    made = exported(
        customer.project, first=date(2026, 10, 20), last=date(2026, 11, 20), as_of=as_of
    )
    totals: dict[str, Decimal] = defaultdict(Decimal)
    newest: dict[str, str] = {}
    for row in made:
        day = row["usage_start_time"][:10]
        totals[day] += row["cost"] + sum((one["amount"] for one in row["credits"]), Decimal(0))
        newest[day] = max(newest.get(day, ""), row["export_time"])
    # Due since the 16th, and so looked at since three days before.
    touched = {day for day in totals if newest[day] >= "2026-11-13" or day >= "2026-11-16"}
    assert "2026-10-26" in touched, "a correction three weeks later"
    found = sums(org.rows("billing_cost_daily"), "usage_date")
    assert found == {day: totals[day] for day in touched}


def test_the_bill_is_in_cost_daily(account: OrgEnv, customer: Customer) -> None:
    customer.export(golden_rows())
    run_steps(account, config=FAR_BACK)
    rows = account.rows("cost_daily_by_basis", "WHERE x_Provider = 'gcp'")
    assert sums(rows, "x_UsageDate", "BilledCost") == decimals(
        golden_totals()["net_by_usage_day_utc"]
    )
    assert {(row["x_Basis"], row["BillingCurrency"]) for row in rows} == {("billed", "USD")}
    corrected = [row for row in rows if row["ChargeClass"] == "Correction"]
    assert {str(row["x_UsageDate"]) for row in corrected} == {"2026-10-15"}
    assert sum(row["EffectiveCost"] - row["BilledCost"] for row in rows) == Decimal("7.45")
    (partner,) = [row for row in rows if row["PublisherName"] != "Google Cloud"]
    assert partner["PublisherName"] == "Acme Partner Inc."


def test_a_run_that_is_asked_for_a_day_does_that_day(account: OrgEnv, customer: Customer) -> None:
    customer.export(golden_rows())
    run_steps(account, days=[date(2026, 11, 1)], config=FAR_BACK)
    assert list(sums(account.rows("billing_cost_daily"), "usage_date")) == ["2026-11-01"]
    yesterday = date(2026, 11, 20)
    run_steps(account, days=[yesterday], run_id="run_2", date=str(yesterday), config=FAR_BACK)
    assert list(sums(account.rows("billing_cost_daily"), "usage_date")) == ["2026-11-01"]


def test_a_day_that_fails_far_back_is_found_again_by_the_next_run(
    account: OrgEnv, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer.export(golden_rows())

    def failing(*given: Any, **named: Any) -> Any:
        if given[2].key.day == date(2026, 10, 15):
            raise RetryableError("The disk is full")
        return publish_content(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("convergence.processors.lib.daily.slices.publish_content", failing)
        with pytest.raises(RetryableError):
            run_steps(account, config=FAR_BACK)
    assert account.rows("gcp_billing_daily_raw", "WHERE usage_date = '2026-11-17'") == []
    run_steps(account, run_id="run_2", config=FAR_BACK)
    rows = account.rows("billing_cost_daily")
    assert sum(row["net_cost"] for row in rows) == Decimal("40.875")


def test_jobs_run_where_the_customers_data_is_and_none_crosses_projects(
    account: OrgEnv, customer: Customer
) -> None:
    exported = customer.export(golden_rows())
    run_steps(account)
    assert {job.location for job in customer.client.list_jobs()} == {"EU"}
    assert account.env.settings.bigquery_location == "US"
    with pytest.raises(google_errors.Forbidden, match="Access Denied"):
        account.env.ask(f"SELECT * FROM `{customer.project}.billing_export.{exported['table']}`")


def test_of_two_exports_of_an_account_the_detailed_one_is_read(
    account: OrgEnv, customer: Customer
) -> None:
    rows = golden_rows()
    bare = [{k: v for k, v in row.items() if k not in {"resource", "subscription"}} for row in rows]
    customer.export(bare, kind="standard")
    standard = run_steps(account, config=FAR_BACK)[0]
    assert [name.rpartition(".")[2][:24] for name in standard.details["exports"]] == [
        "gcp_billing_export_v1_" + standard.details["exports"][0].rpartition("v1_")[2][:2]
    ]
    customer.export(rows, kind="detailed")
    copied, summed = run_steps(account, run_id="run_2", config=FAR_BACK)
    (name,) = copied.details["exports"]
    assert "gcp_billing_export_resource_v1_" in name
    assert sum(row["net_cost"] for row in account.rows("billing_cost_daily")) == Decimal("40.875")
    assert summed.status == "SUCCESS"
