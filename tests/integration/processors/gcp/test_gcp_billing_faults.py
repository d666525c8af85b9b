"""Missing rights and wrong content of a billing export, with real clients, and their errors."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.errors import (
    IntegrationInvalidError,
    ProviderProtocolError,
    WarehouseError,
)
from convergence.processors.gcp.config import BqEtlConfig
from convergence_sandbox.providers.google.accounts import service_account
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer, golden_rows
from support.vendors.gcp_steps import FAR_BACK, run_steps


def test_a_partition_filter_is_kept(account: OrgEnv, customer: Customer) -> None:
    told = customer.export(golden_rows())
    table = customer.client.get_table(f"{customer.project}.billing_export.{told['table']}")
    table.require_partition_filter = True
    customer.client.update_table(table, ["require_partition_filter"])
    with pytest.raises(google_errors.BadRequest):
        list(
            customer.client.query_and_wait(
                f"SELECT 1 FROM `{table.full_table_id}`".replace(":", ".")
            )
        )
    _, summed = run_steps(account, config=FAR_BACK)
    assert summed.details["net_cost"] == {"USD": "40.875"}


def test_a_new_column_is_kept_and_counted(account: OrgEnv, customer: Customer) -> None:
    told = customer.export([])
    table = customer.client.get_table(f"{customer.project}.billing_export.{told['table']}")
    schema = [one.to_api_repr() for one in table.schema]
    schema.append({"name": "carbon", "type": "FLOAT", "mode": "NULLABLE"})
    price = next(one for one in schema if one["name"] == "price")
    price["fields"].append({"name": "promise", "type": "STRING", "mode": "NULLABLE"})
    table.schema = [bigquery.SchemaField.from_api_repr(one) for one in schema]
    customer.client.update_table(table, ["schema"])
    row = golden_rows()[0]
    customer.export([{**row, "carbon": 0.5, "price": {"promise": "kept", "unit": "hour"}}, row])
    copied, _ = run_steps(account)
    assert copied.details["unknown_fields"] == {"carbon": 1, "price.promise": 1}
    kept = [one["extra"] for one in account.rows("gcp_billing_daily_raw")]
    assert sorted(kept, key=str) == [None, {"carbon": 0.5, "price": {"promise": "kept"}}]


def test_a_column_that_changed_its_type_is_named_and_nothing_is_published(
    account: OrgEnv, customer: Customer
) -> None:
    told = customer.export([])
    name = f"{customer.project}.billing_export.{told['table']}"
    schema = [one.to_api_repr() for one in customer.client.get_table(name).schema]
    next(one for one in schema if one["name"] == "cost")["type"] = "STRING"
    customer.client.delete_table(name)
    made = bigquery.Table(name, [bigquery.SchemaField.from_api_repr(one) for one in schema])
    customer.client.create_table(made)
    with pytest.raises(ProviderProtocolError, match="cost: is STRING, was FLOAT64"):
        run_steps(account)


def test_a_query_that_would_read_more_than_its_cap_is_not_run(
    account: OrgEnv, customer: Customer
) -> None:
    customer.export(golden_rows())
    with pytest.raises(WarehouseError, match="max_bytes_billed") as caught:
        run_steps(account, config=BqEtlConfig().model_copy(update={"max_bytes_billed": 100}))
    assert caught.value.details["max_bytes_billed"] == 100
    assert int(str(caught.value.details["would_read_bytes"])) > 100
    assert list(customer.client.list_jobs()) == []


@pytest.mark.parametrize("project", ["customer-somebody-else", None])
def test_an_account_without_rights_is_told_as_such(
    org: OrgEnv, sandbox: SandboxProcess, project: str | None
) -> None:
    tail = "" if project else "-norights"
    customer = Customer(sandbox, f"t{uuid4().hex[:10]}{tail}")
    customer.connect(org)
    with pytest.raises(
        IntegrationInvalidError, match="does not let this service account"
    ) as caught:
        run_steps(org, export_project=project or "")
    assert caught.value.details["project"] == (project or customer.project)
    assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_that_google_does_not_know_is_told_as_such(org: OrgEnv, customer: Customer) -> None:
    other = service_account("another")["private_key"]
    told = service_account(customer.seed) | {"private_key": other}
    org.env.keys[org.slug] = json.dumps(told)
    with pytest.raises(IntegrationInvalidError, match="does not accept"):
        run_steps(org)


def test_an_account_without_an_export_is_told_where_it_was_looked_for(
    account: OrgEnv, customer: Customer
) -> None:
    with pytest.raises(IntegrationInvalidError, match="No billing export") as caught:
        run_steps(account)
    assert caught.value.details == {"project": customer.project, "datasets": []}
