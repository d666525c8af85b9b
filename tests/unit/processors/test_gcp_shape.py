"""The pure parts of the Google Cloud steps: rows by name, exports by name, pages by token."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConfigurationError, IntegrationInvalidError, ProviderProtocolError
from convergence.extract.paginate import PageResponse
from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.gcp.config import ApiExtractorConfig, BqEtlConfig
from convergence.processors.gcp.exports import ExportLocation, ExportTable, Place, choose
from convergence.processors.gcp.shape import ExportShape, net, numeric
from convergence.processors.gcp.snapshot import TokenPages, convert_to_snake_case
from convergence.processors.lib.schema_templates import load_template
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.schemas import TableSchema
from convergence_sandbox.providers.google.billing import schema as export_schema

CONFIGS = PROJECT_ROOT / "include" / "configs"
DATA = Path(__file__).parents[2] / "data" / "gcp"
ACCOUNT = "01A2B3_C4D5E6_F7A8B9"
OTHER = "0F0F0F_1A1A1A_2B2B2B"


def copy_schema() -> TableSchema:
    path = CONFIGS / "gcp/bq_etl/schema_template.json"
    return load_template(path, "default", table="gcp_billing_daily_raw")


def schema_fields(*told: dict[str, Any]) -> list[bigquery.SchemaField]:
    return [bigquery.SchemaField.from_api_repr({"mode": "NULLABLE", **one}) for one in told]


# --- rows ------------------------------------------------------------------------------------


def test_our_copy_has_every_column_of_the_export() -> None:
    present = [bigquery.SchemaField.from_api_repr(one) for one in export_schema("detailed")]
    shape = ExportShape.of(present, copy_schema(), source_table="t")
    assert set(shape.columns) == {one.name for one in present}
    assert shape.unknown_parts == {}


names = st.sampled_from(["cost", "currency", "carbon", "price", "labels", "invented"])
leaves = st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3))


@given(row=st.dictionaries(names, leaves), parts=st.dictionaries(st.sampled_from("xyz"), leaves))
def test_whatever_is_not_a_column_of_ours_is_kept(
    row: dict[str, Any], parts: dict[str, Any]
) -> None:
    """Every value that is not null is in its column, or in `extra`."""
    present = schema_fields(
        {"name": "cost", "type": "FLOAT"},
        {"name": "currency", "type": "STRING"},
        {"name": "carbon", "type": "STRING"},
        {"name": "invented", "type": "STRING"},
        {
            "name": "price",
            "type": "RECORD",
            "fields": [
                {"name": name, "type": "STRING", "mode": "NULLABLE"}
                for name in ("unit", "x", "y", "z")
            ],
        },
    )
    full = {one.name: row.get(one.name) for one in present}
    full["price"] = {"unit": "hour", **{name: parts.get(name) for name in "xyz"}}
    shape = ExportShape.of(present, copy_schema(), source_table="t")
    made = shape.row({"usage_date": date(2026, 11, 17), **full})
    extra = made["extra"] or {}
    for name in ("carbon", "invented"):
        assert extra.get(name) == full[name]
        assert shape.unknown[name] == (full[name] is not None)
    kept = {name: value for name, value in parts.items() if value is not None}
    assert (extra.get("price") or {}) == kept
    assert (made["cost"], made["currency"]) == (full["cost"], full["currency"])
    assert made["price"] == {"unit": "hour"}


@pytest.mark.parametrize(
    ("column", "fault"),
    [
        ({"name": "cost", "type": "STRING"}, "cost: is STRING, was FLOAT64"),
        ({"name": "labels", "type": "STRING"}, "labels: is NULLABLE, was REPEATED"),
        (
            {
                "name": "service",
                "type": "RECORD",
                "fields": [{"name": "id", "type": "INTEGER", "mode": "NULLABLE"}],
            },
            "service.id: is INT64, was STRING",
        ),
    ],
)
def test_a_changed_type_is_named(column: dict[str, Any], fault: str) -> None:
    with pytest.raises(ProviderProtocolError) as caught:
        ExportShape.of(schema_fields(column), copy_schema(), source_table="t")
    assert caught.value.details["errors"] == [fault]


def test_a_number_may_become_a_more_exact_one() -> None:
    shape = ExportShape.of(
        schema_fields({"name": "cost", "type": "NUMERIC"}), copy_schema(), source_table="t"
    )
    assert shape.row({"usage_date": None, "cost": Decimal("0.1")})["cost"] == Decimal("0.1")


@given(
    cents=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=5),
)
def test_net_is_the_exact_sum_of_what_is_written(cents: list[int]) -> None:
    """Each amount goes through float, as the export has it, and comes back as it was written."""
    cost, *credited = [cent / 1_000_000 for cent in cents]
    row = {"cost": cost, "credits": [{"amount": one} for one in credited], "currency": "USD"}
    assert net(row).amount == sum(Decimal(cent) for cent in cents) / 1_000_000


def test_a_number_is_rounded_half_away_from_zero() -> None:
    assert numeric(0.0009765625) == Decimal("0.000976563")
    assert numeric(-0.0009765625) == Decimal("-0.000976563")


# --- exports ---------------------------------------------------------------------------------


def place(account: str = ACCOUNT, *, detailed: bool = False, dataset: str = "billing") -> Place:
    middle = "resource_" if detailed else ""
    return dataset, f"gcp_billing_export_{middle}v1_{account}"


def test_one_export_per_account_the_detailed_one_first() -> None:
    wanted = ExportLocation(project="acme-prod")
    both = [place(), place(detailed=True), place(OTHER), ("billing", "cloud_pricing_export")]
    assert choose(both, wanted) == [place(detailed=True), place(OTHER)]
    assert choose(both, ExportLocation(project="acme-prod", kind="standard")) == [
        place(),
        place(OTHER),
    ]
    assert choose(both, ExportLocation(project="acme-prod", kind="detailed")) == [
        place(detailed=True)
    ]
    only = ExportLocation(project="acme-prod", billing_account=OTHER.replace("_", "-"))
    assert choose(both, only) == [place(OTHER)]


def test_the_same_export_in_two_datasets_is_not_read_twice() -> None:
    with pytest.raises(IntegrationInvalidError, match="two exports") as caught:
        choose([place(), place(dataset="old")], ExportLocation(project="acme-prod"))
    assert caught.value.details["datasets"] == ["billing", "old"]


@pytest.mark.parametrize(
    "params",
    [
        {"export_project": "No Project"},
        {"export_dataset": "a`b"},
        {"export_table": "t", "export_dataset": "d; DROP"},
        {"export_table": "t"},
        {"export_kind": "both"},
    ],
)
def test_what_is_no_name_is_refused(params: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        ExportLocation.from_params(params, account_project="acme-prod")


def test_names_of_the_org_win_over_the_accounts_project() -> None:
    told = {"export_project": "acme-billing", "date": "2026-11-17", "export_table": None}
    assert ExportLocation.from_params(told, account_project="acme-prod") == ExportLocation(
        project="acme-billing"
    )
    assert ExportLocation.from_params({}, account_project="acme-prod") == ExportLocation(
        project="acme-prod"
    )
    with pytest.raises(ConfigurationError, match="export_project"):
        ExportLocation.from_params({}, account_project=None)


@pytest.mark.parametrize(
    ("column", "kind", "by_export"),
    [
        ("_PARTITIONTIME", None, datetime(2026, 11, 10, tzinfo=UTC)),
        ("export_time", "TIMESTAMP", datetime(2026, 11, 10, tzinfo=UTC)),
        ("export_day", "DATE", date(2026, 11, 10)),
        ("usage_start_time", "TIMESTAMP", datetime(2010, 1, 1, tzinfo=UTC)),
    ],
)
def test_partitions_that_can_hold_it_are_read(
    column: str, kind: str | None, by_export: date
) -> None:
    table = ExportTable(
        project="p",
        dataset="d",
        table="t",
        location="EU",
        columns=tuple(schema_fields({"name": column, "type": kind}) if kind else ()),
        partition_column=column,
    )
    assert table.partitions_from(date(2026, 11, 17), exported=True) == by_export
    usage = table.partitions_from(date(2026, 11, 17), exported=False)
    assert str(usage).startswith("2026-11-10")


# --- pages -----------------------------------------------------------------------------------


def answer(name: str) -> PageResponse:
    return PageResponse(json.loads((DATA / f"{name}.json").read_text()))


def test_pages_follow_their_token_to_the_page_that_has_none() -> None:
    pages = TokenPages("/v1/billingAccounts", "billingAccounts", (("pageSize", "2"),))
    assert pages.request(None).params == (("pageSize", "2"),)
    first = pages.read_page(answer("billing_accounts_page1"), token=None)
    assert (len(first.rows), first.next_token) == (2, "CAIQAhgC")
    assert pages.request(first.next_token).params[-1] == ("pageToken", "CAIQAhgC")
    last = pages.read_page(answer("billing_accounts_page2"), token=first.next_token)
    assert (len(last.rows), last.next_token) == (1, None)
    assert pages.read_page(answer("billing_accounts_empty"), token=None).rows == []


@pytest.mark.parametrize(
    "body", [[], {"billingAccounts": {}}, {"billingAccounts": [1]}, {"nextPageToken": 5}]
)
def test_a_page_of_another_shape_is_an_error(body: Any) -> None:
    with pytest.raises(ProviderProtocolError):
        TokenPages("/v1/x", "billingAccounts").read_page(PageResponse(body), token=None)


def test_fields_have_our_names() -> None:
    told = {"displayName": 1, "masterBillingAccount": 2, "name": 3, "createdAt2X": 4}
    assert list(convert_to_snake_case(told)) == [
        "display_name",
        "master_billing_account",
        "name",
        "created_at2_x",
    ]


# --- pipeline files --------------------------------------------------------------------------


def spec(path: str) -> PipelineSpec:
    loaded = load_pipeline(CONFIGS / path, CONFIGS)
    assert isinstance(loaded, PipelineSpec), loaded
    return loaded


def test_the_pipelines_answer_where_they_are_called_and_fill_their_tables() -> None:
    billing = spec("gcp/cost/billing.yml")
    assert billing.aliases == ("gcp/cost/cost_billing", "gcp/billing")
    assert billing.tables == ("gcp_billing_daily_raw", "billing_cost_daily")
    assert spec("gcp/api/billing_accounts.yml").tables == ("gcp_billing_accounts_raw",)
    for step in billing.steps:
        for name, value in step.parsed.model_dump().items():
            if name.endswith(("_file", "_view")):
                assert (CONFIGS / value).is_file(), value


@pytest.mark.parametrize(
    "url",
    [
        "http://cloudbilling.googleapis.com/v1/billingAccounts",
        "https://googleapis.com.evil.example/v1/x",
        "https://evil.example/googleapis.com/x",
        "https://cloudbilling.googleapis.com",
        "https://a@cloudbilling.googleapis.com/v1",
    ],
)
def test_a_token_for_google_goes_to_google_only(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        ApiExtractorConfig.from_values(
            {
                "url": url,
                "data_path": "rows",
                "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                "table": "t",
                "schema_file": "gcp/api/schemas/t.json",
            }
        )


def test_a_cap_below_what_bigquery_bills_at_least_is_refused() -> None:
    with pytest.raises(ValueError, match="max_bytes_billed"):
        BqEtlConfig.from_values({"max_bytes_billed": 1})
