"""`gcp.api_extractor` with real HTTP: a list of Google's, to its end, as a day's closing state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from convergence.errors import IntegrationInvalidError, ProviderProtocolError, ProviderRejectedError
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.gcp.config import ApiExtractorConfig
from convergence.processors.gcp.snapshot import take_snapshot
from convergence.providers.registry import load_registry
from convergence.providers.validation import validate_credential
from convergence_sandbox.providers.google.api import accounts_of
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess
from support.vendors.gcp_customer import Customer

ACCOUNTS = PipelineInfo(
    pipeline_id="gcp-billing-accounts",
    dag_id="gcp.api.billing_accounts",
    provider="gcp",
    settle_days=0,
)
YESTERDAY = date(2026, 11, 20)
TABLE = "gcp_billing_accounts_raw"


def config(**more: Any) -> ApiExtractorConfig:
    values = {
        "url": "https://cloudbilling.googleapis.com/v1/billingAccounts",
        "data_path": "billingAccounts",
        "scopes": ["https://www.googleapis.com/auth/cloud-billing.readonly"],
        "params": {"pageSize": "2"},
        "table": TABLE,
        "schema_file": f"gcp/api/schemas/{TABLE}.json",
    }
    return ApiExtractorConfig.from_values(values | more)


def take(org: OrgEnv, *, days: Sequence[date] = (YESTERDAY,), run_id: str = "run_1") -> StepResult:
    return take_snapshot(org.context(days, run_id=run_id, pipeline=ACCOUNTS), config())


def connected(org: OrgEnv, sandbox: SandboxProcess, *, tail: str = "") -> Customer:
    customer = Customer(sandbox, f"t{uuid4().hex[:10]}{tail}")
    customer.connect(org)
    return customer


def lay(sandbox: SandboxProcess, **fault: Any) -> None:
    httpx.post(f"{sandbox.providers}/_sandbox/faults", json=fault).raise_for_status()


def test_every_page_is_read_and_fields_have_our_names(org: OrgEnv, sandbox: SandboxProcess) -> None:
    customer = connected(org, sandbox)
    assert take(org).rows_processed == 3
    rows = {row["name"]: row for row in org.rows(TABLE)}
    assert set(rows) == {told["name"] for told in accounts_of(customer.project)}
    for told in accounts_of(customer.project):
        row = rows[str(told["name"])]
        assert (row["display_name"], row["open"]) == (told["displayName"], told["open"])
        assert (row["snapshot_date"], row["extra"]) == (YESTERDAY, None)


def test_nothing_but_braces_is_an_empty_list(org: OrgEnv, sandbox: SandboxProcess) -> None:
    connected(org, sandbox, tail="-empty")
    assert take(org).rows_processed == 0
    assert org.rows(TABLE) == []


def test_a_day_is_observed_once_and_days_before_are_told_unobserved(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    connected(org, sandbox)
    first = take(org, days=(date(2026, 11, 19), YESTERDAY))
    assert first.details["days_not_observed"] == ["2026-11-19"]
    connected(org, sandbox)
    assert take(org, run_id="run_2").details["days_kept"] == 1
    later = org.at(datetime(2026, 11, 22, 1, tzinfo=UTC))
    take(later, days=(date(2026, 11, 21),), run_id="run_3")
    seen = {(row["snapshot_date"], row["name"]) for row in org.rows(TABLE)}
    assert len(seen) == 6
    assert len({name for _, name in seen}) == 6


def test_what_passes_is_tried_again_and_what_breaks_the_shape_is_not(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    connected(org, sandbox)
    lay(sandbox, kind="status", path="/google/token", count=1)
    lay(sandbox, kind="rate_limited", path="/google/v1/billingAccounts", count=1)
    assert take(org).rows_processed == 3
    lay(sandbox, kind="loop", path="/google/v1/billingAccounts", count=20)
    other = org.env.new_org()
    connected(other, sandbox)
    try:
        with pytest.raises(ProviderProtocolError):
            take(other)
    finally:
        httpx.delete(f"{sandbox.providers}/_sandbox/faults")
    assert other.rows(TABLE) == []


def test_without_rights_the_list_is_refused_and_the_credential_invalid(
    org: OrgEnv, sandbox: SandboxProcess
) -> None:
    customer = connected(org, sandbox, tail="-norights")
    with pytest.raises(ProviderRejectedError) as caught:
        take(org)
    assert caught.value.details["status"] == 403
    assert verdict(org, customer.credential) == "INVALID"


def test_set_up_asks_google_itself(org: OrgEnv, sandbox: SandboxProcess) -> None:
    good, other = connected(org, sandbox), Customer(sandbox, "somebody_else")
    assert verdict(org, good.credential) == "VALID"
    mixed = good.credential.replace(good.project, other.project)
    assert verdict(org, mixed) == "INVALID"
    org.env.keys[org.slug] = mixed
    with pytest.raises(IntegrationInvalidError):
        take(org)
    lay(sandbox, kind="status", path="/google/token", count=1)
    assert verdict(org, good.credential) == "PENDING"


def verdict(org: OrgEnv, credential: str) -> str:
    settings = org.env.settings
    found = validate_credential(
        load_registry(settings).get("gcp"), credential, settings=settings, now=datetime.now(UTC)
    )
    assert "PRIVATE" not in (found.error or "")
    return found.status
