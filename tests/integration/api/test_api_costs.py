"""GET costs on the sandbox's warehouse: one total, its coverage, its pages and its dimensions."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from convergence.api.costs import reading
from convergence.api.costs.models import CostResponse
from convergence.runs.records import RunRecords
from convergence.state import org_runs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from support.api.cost_lines import COMPUTED, build_line, write_lines
from support.api.populated import PopulatedApi

MONDAY = date(2025, 11, 24)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
RANGE = {"start_date": MONDAY.isoformat(), "end_date": WEDNESDAY.isoformat()}
EARLY = date(2025, 10, 31)


@pytest.fixture(scope="module")
def costs(populated_api: PopulatedApi) -> PopulatedApi:
    """An org with billed and computed days of OpenAI, seats, and a bill of Google."""
    env, acme = populated_api.env, populated_api.acme.slug
    env.ask(
        "UPDATE organizations.org_integration_credentials SET connected_on = DATE '2025-11-20' "
        f"WHERE org_slug = '{acme}'"
    )
    tags = {"Tags": json.dumps({"team": "red", "cost-center": "7"})}
    key = {"x_ApiKeyId": "key_1", "x_UserId": "user_1", "RegionId": "eu"}
    write_lines(
        env,
        acme,
        "openai/api",
        [
            build_line(
                MONDAY, "1.5", x_Model="gpt-5", SkuId="gpt-5", SkuMeter="input_tokens",
                SubAccountId="p1", x_Attribution="direct", **key, **tags
            ),
            build_line(MONDAY, "0.25", SkuId="images", x_Attribution="unattributed"),
            build_line(
                MONDAY, None, x_Model="gpt-5", x_PricingStatus="UNPRICED",
                x_UnpricedReason="tier_unknown", x_Attribution="not_billed", x_Requests=3
            ),
            build_line(TUESDAY, "2", x_Model="gpt-5", SubAccountId="p1", **COMPUTED),
        ],
    )  # fmt: skip
    write_lines(
        env,
        acme,
        "openai/seats",
        [build_line(MONDAY, "10", x_BillState="no_bill", ChargeCategory="Purchase", **_seats())],
    )
    late = {
        "BillingPeriodStart": "2025-11-01T00:00:00Z",
        "BillingPeriodEnd": "2025-12-01T00:00:00Z",
    }
    euros = {"BillingCurrency": "EUR", "x_UsageState": "none", "x_UsageRunId": None}
    write_lines(
        env,
        acme,
        "gcp/billing",
        [
            build_line(EARLY, "3", **late, **euros),
            build_line(MONDAY, "4", **euros),
            build_line(MONDAY, "0.8", ChargeCategory="Tax", **euros),
            build_line(TUESDAY, "0", x_Shown="zero", x_UsageState="none"),
        ],
    )
    return populated_api


def _seats() -> dict[str, Any]:
    return {"x_Basis": "computed", "x_Shown": "computed", "x_BillRunId": None}


def get(api: PopulatedApi, status: int = 200, **query: Any) -> Any:
    response = api.client.get(
        f"/costs/{api.acme.slug}", params={**RANGE, **query}, headers=api.acme.headers
    )
    assert response.status_code == status, response.text
    if status == 200:
        CostResponse.model_validate(response.json())
    return response.json()


def total(body: Any, currency: str = "USD") -> Any:
    (found,) = [one for one in body["totals"] if one["currency"] == currency]
    return found


def test_one_total_for_each_currency_with_its_expected_part(costs: PopulatedApi) -> None:
    body = get(costs)
    assert [one["currency"] for one in body["totals"]] == ["EUR", "USD"]
    usd = total(body)
    # Bill of Monday, computed cost of Tuesday, and the seats.
    assert Decimal(usd["billed_cost"]) == Decimal("13.75")
    assert Decimal(usd["expected_cost"]) == Decimal(12)
    assert (usd["basis"], usd["cost"]) == ("mixed", usd["effective_cost"])
    euros = total(body, "EUR")
    assert (euros["billed_cost"], euros["expected_cost"], euros["basis"]) == ("4.8", "0", "billed")
    assert (body["basis"], body["currency"]) == (None, None)


def test_a_group_has_one_row_whatever_its_bases(costs: PopulatedApi) -> None:
    body = get(costs, group_by="provider", currency="USD")
    (row,) = body["rows"]
    assert (row["provider"], row["basis"], row["billed_cost"]) == ("openai", "mixed", "13.75")
    assert set(row) == {
        *("provider", "billed_cost", "expected_cost", "effective_cost", "list_cost", "cost"),
        *("basis", "currency"),
    }


def test_a_day_without_cost_is_no_row_and_adds_no_currency(costs: PopulatedApi) -> None:
    body = get(costs, filter="provider=gcp")
    assert [row["day"] for row in body["rows"]] == [MONDAY.isoformat()]
    assert [one["currency"] for one in body["totals"]] == ["EUR"]
    shown = {(one["stream"], one["day"]): one["shown"] for one in body["coverage"]}
    assert shown["gcp/billing", TUESDAY.isoformat()] == "zero"


@pytest.mark.parametrize(
    ("dimension", "expected"),
    [
        ("billing_month", {"2025-11": "13.75"}),
        ("charge_category", {"Usage": "3.75", "Purchase": "10"}),
        ("stream", {"openai/api": "3.75", "openai/seats": "10"}),
        ("sku", {None: "12", "gpt-5": "1.5", "images": "0.25"}),
        ("meter", {None: "12.25", "input_tokens": "1.5"}),
        ("api_key", {None: "12.25", "key_1": "1.5"}),
        ("user", {None: "12.25", "user_1": "1.5"}),
        ("region", {None: "12.25", "eu": "1.5"}),
        ("attribution", {None: "12", "direct": "1.5", "unattributed": "0.25", "not_billed": None}),
        ("tag:team", {None: "12.25", "red": "1.5"}),
        ("tag:cost-center", {None: "12.25", "7": "1.5"}),
    ],
)
def test_rows_are_grouped_and_filtered_by_any_dimension(
    costs: PopulatedApi, dimension: str, expected: dict[str | None, str | None]
) -> None:
    rows = get(costs, group_by=dimension, currency="USD")["rows"]
    assert {row[dimension]: row["billed_cost"] for row in rows} == expected
    for value, cost in expected.items():
        selected = f"{dimension}={value or ''}"
        (row,) = get(costs, group_by=dimension, currency="USD", filter=selected)["rows"]
        assert (row[dimension], row["billed_cost"]) == (value, cost)


def test_filters_of_one_dimension_are_alternatives_and_of_several_all_apply(
    costs: PopulatedApi,
) -> None:
    either = get(costs, currency="USD", filter=["sku=images", "sku=gpt-5"])
    assert total(either)["billed_cost"] == "1.75"
    both = get(costs, currency="USD", filter=["sku=images", "sku=gpt-5", "tag:team=red"])
    assert total(both)["billed_cost"] == "1.5"


def test_values_never_reach_the_statement(costs: PopulatedApi) -> None:
    for value in ("' OR 1=1 --", "@org_slug", "{{ project }}", "a`b"):
        assert get(costs, filter=[f"model={value}"])["rows"] == []
        assert get(costs, group_by="day", filter=[f"tag:{value.replace(',', '')}=x"])["rows"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"group_by": "colour"}, "query.group_by"),
        ({"group_by": 'tag:a"b'}, "query.group_by"),
        ({"group_by": "tag:"}, "query.group_by"),
        ({"filter": "model"}, "query.filter"),
        ({"filter": "colour=red"}, "query.filter"),
    ],
)
def test_wrong_dimensions_are_rejected(costs: PopulatedApi, query: Any, field: str) -> None:
    problem = get(costs, 422, **query)
    assert problem["errors"][0]["field"] == field


def test_coverage_names_each_day_of_each_stream(costs: PopulatedApi) -> None:
    coverage = {(one["stream"], one["day"]): one for one in get(costs)["coverage"]}
    assert len(coverage) == 9
    api = [coverage["openai/api", day.isoformat()] for day in (MONDAY, TUESDAY, WEDNESDAY)]
    assert [one["shown"] for one in api] == ["billed", "computed", "none"]
    assert [one["bill"] for one in api] == ["covers", "late", "late"]
    assert [one["usage"] for one in api] == ["published", "published", "missing"]
    assert api[0]["bill_run_id"] == "run_bill"
    assert api[0]["usage_run_id"] == "run_usage"
    assert api[1]["bill_expected_on"] == (TUESDAY + timedelta(days=4)).isoformat()
    # Never connected, and still published: other days are no gap.
    google = coverage["gcp/billing", WEDNESDAY.isoformat()]
    assert (google["shown"], google["bill"], google["usage"]) == (
        *("none", "not_connected", "not_connected"),
    )
    seats = coverage["openai/seats", TUESDAY.isoformat()]
    assert (seats["shown"], seats["bill"], seats["usage"]) == ("none", "no_bill", "missing")


def test_days_before_the_connection_are_not_connected(costs: PopulatedApi) -> None:
    body = get(costs, start_date="2025-11-18", end_date="2025-11-21", filter="stream=openai/api")
    assert [one["bill"] for one in body["coverage"]] == [
        *("not_connected", "not_connected", "late", "late"),
    ]


def test_an_org_that_disconnects_keeps_what_was_published(costs: PopulatedApi) -> None:
    table = "organizations.org_integration_credentials"
    where = f"WHERE org_slug = '{costs.acme.slug}'"
    costs.env.ask(
        f"UPDATE {table} SET status = 'DELETED', updated_at = TIMESTAMP '2025-11-25 15:00:00' "
        f"{where}"
    )
    try:
        body = get(costs, filter="stream=openai/api")
        states = [(one["shown"], one["usage"]) for one in body["coverage"]]
        assert states == [
            *(("billed", "published"), ("computed", "published"), ("none", "not_connected")),
        ]
    finally:
        costs.env.ask(f"UPDATE {table} SET status = 'ACTIVE' {where}")


def test_a_failed_run_explains_an_absent_bill_and_absent_usage(costs: PopulatedApi) -> None:
    now = datetime.now(UTC)
    store = costs.env.services.store
    records = RunRecords(store)
    for pipeline_id in ("openai-cost-extract", "openai-usage-cost"):
        run = OrgRun(
            run_id=f"run_{pipeline_id}", org_slug=costs.acme.slug, pipeline_id=pipeline_id,
            dag_id="d", dag_run_id="r", trigger="api", requested_by="admin", created_at=now,
            days=(WEDNESDAY,),
        )  # fmt: skip
        with store.begin() as conn:
            org_runs.insert_run(conn, run)
        records.finish_run(
            run.run_id, RunStatus.FAILED, now=now, error=RunError("forbidden", "no permission")
        )
    body = get(costs, filter="stream=openai/api")
    states = {one["day"]: one for one in body["coverage"]}
    tuesday, wednesday = states[TUESDAY.isoformat()], states[WEDNESDAY.isoformat()]
    assert (tuesday["bill"], tuesday["usage"]) == ("unreadable", "published")
    assert (wednesday["bill"], wednesday["usage"]) == ("unreadable", "failed")
    assert wednesday["bill_run_id"] == "run_openai-cost-extract"
    assert wednesday["usage_run_id"] == "run_openai-usage-cost"


def test_invoices_that_the_range_cuts_are_named(costs: PopulatedApi) -> None:
    (month,) = get(costs)["billing_months"]
    assert month == {
        "billing_month": "2025-11", "first_day": "2025-11-01", "last_day": "2025-11-30",
        "is_cut": True,
    }  # fmt: skip
    whole: dict[str, Any] = {
        "start_date": "2025-10-31",
        "end_date": "2025-11-30",
        "group_by": "billing_month",
    }
    body = get(costs, **whole, filter="provider=gcp")
    # Usage of October that the invoice of November has.
    assert [(row["billing_month"], row["billed_cost"]) for row in body["rows"]] == [
        ("2025-11", "7.8")
    ]
    assert [one["is_cut"] for one in body["billing_months"]] == [False]


def test_usage_without_a_price_is_listed_with_the_reason(costs: PopulatedApi) -> None:
    (one,) = get(costs)["unpriced"]
    assert (one["reason"], one["requests"], one["model"]) == ("tier_unknown", 3, "gpt-5")


def test_more_rows_than_a_page_are_paged(
    costs: PopulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ROWS", 2)
    whole, page = [], None
    totals = set()
    while True:
        more: dict[str, Any] = {"page": page} if page else {}
        body = get(costs, group_by="sku,day", **more)
        whole += body["rows"]
        totals.add(json.dumps(body["totals"]))
        page = body.get("next_page")
        if page is None:
            break
    assert len(whole) == body["row_count"] == 5
    assert len({(row["sku"], row["day"], row["currency"]) for row in whole}) == 5
    assert len(totals) == 1


def test_a_page_of_changed_cost_is_refused(
    costs: PopulatedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ROWS", 2)
    page = get(costs, group_by="sku,day")["next_page"]
    assert get(costs, 409, group_by="sku", page=page)["code"] == "conflict"
    get(costs, 422, group_by="sku", page="second")


def test_an_unchanged_response_is_not_sent_again(costs: PopulatedApi) -> None:
    path, headers = f"/costs/{costs.acme.slug}", costs.acme.headers
    first = costs.client.get(path, params=RANGE, headers=headers)
    again = costs.client.get(
        path, params=RANGE, headers={**headers, "If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_csv_has_the_new_amounts_last(costs: PopulatedApi) -> None:
    response = costs.client.get(
        f"/costs/{costs.acme.slug}",
        params={**RANGE, "format": "csv", "group_by": "tag:team", "currency": "USD"},
        headers=costs.acme.headers,
    )
    assert response.text.splitlines() == [
        "tag:team,cost,list_cost,billed_cost,currency,basis,effective_cost,expected_cost",
        ",12.25,12.25,12.25,USD,mixed,12.25,12",
        "red,1.5,1.5,1.5,USD,billed,1.5,0",
    ]


def test_one_query_job_serves_a_request(costs: PopulatedApi) -> None:
    client = costs.env.warehouse.client
    before = {job.job_id for job in client.list_jobs(max_results=1000)}
    get(costs, group_by="day,provider")
    new = [job for job in client.list_jobs(max_results=1000) if job.job_id not in before]
    statements = [job for job in new if "cost_daily" in (getattr(job, "query", "") or "")]
    assert len(statements) == 1
