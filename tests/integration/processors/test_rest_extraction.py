"""The generic extractor on the stand-in of a vendor: every kind of credential, paging and day."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from convergence.errors import (
    ConfigurationError,
    ProviderProtocolError,
    ProviderUnavailableError,
)
from convergence.processors.context import PipelineInfo, StepResult
from convergence.processors.generic.config import ApiExtractorConfig
from convergence.processors.lib.rest.rest_extraction import extract_api
from convergence_sandbox.providers.vendor import build_usage, users
from support import custom_configs
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

DAYS = [date(2026, 11, day) for day in (17, 18, 19)]
YESTERDAY = NOW.date() - timedelta(days=1)
FACTS = PipelineInfo(
    pipeline_id="example-elt",
    dag_id="example.usage.example_elt_pipeline",
    provider="vendor_api",
)
BASE = "https://api.vendor.example/v1"
USAGE: dict[str, Any] = {
    "url": f"{BASE}/usage",
    "auth": {"type": "header", "header_name": "X-API-Key", "provider": "VENDOR_API"},
    "params": {"from": "{first_day}", "to": "{last_day}"},
    "pagination": {
        "type": "cursor",
        "param": "after",
        "response_path": "meta.next_cursor",
        "total_path": "meta.total",
        "limit": 20,
    },
    "day_path": "day",
    "fields": {"usage_id": "id", "workspace_id": "workspace.id", "plan": "workspace.plan"},
    "destination": {"table": "vendor_usage_daily_raw", "unique_by": ["usage_id"]},
    "rate_limit": {"requests_per_second": 500},
    "retry": {"base_seconds": 0.01},
}
USERS: dict[str, Any] = {
    "fields": {"is_active": "active"},
    "destination": {"table": "seats_users_raw", "unique_by": ["id"]},
    "rate_limit": {"requests_per_second": 500},
    "retry": {"base_seconds": 0.01},
}
AUTHS: dict[str, dict[str, str]] = {
    "bearer": {"type": "bearer"},
    "header": {"type": "header", "header_name": "X-API-Key"},
    "query": {"type": "query", "param": "api_key"},
    "basic": {"type": "basic"},
}
PAGINGS: dict[str, dict[str, Any]] = {
    "cursor": {
        "type": "cursor",
        "param": "after",
        "response_path": "meta.next_cursor",
        "limit": 100,
    },
    "offset": {"type": "offset", "limit": 50, "total_path": "total"},
    "page": {"type": "page", "limit": 30, "more_path": "has_more"},
    "link-header": {"type": "link", "limit": 40},
    "link-body": {"type": "link", "response_path": "links.next", "limit": 40},
}


def changed(values: Mapping[str, Any], **changes: Any) -> ApiExtractorConfig:
    return ApiExtractorConfig.from_values({**values, **changes})


class Vendor:
    """An org that the vendor knows."""

    def __init__(self, org: OrgEnv, sandbox: SandboxProcess) -> None:
        self.org = org
        self.url = sandbox.providers
        self.seed = org.slug
        org.env.keys[org.slug] = f"vendor-sandbox-{self.seed}"

    def run(
        self,
        config: ApiExtractorConfig,
        days: list[date] = DAYS,
        *,
        run_id: str = "run_1",
        attempt: int = 1,
    ) -> StepResult:
        context = self.org.context(days, run_id=run_id, pipeline=FACTS, attempt=attempt)
        return extract_api(context, config)

    def lay(self, **fault: Any) -> None:
        told = {"key": self.seed, **fault}
        httpx.post(f"{self.url}/_sandbox/faults", json=told, trust_env=False).raise_for_status()

    def requests(self) -> list[dict[str, Any]]:
        served = httpx.get(f"{self.url}/_sandbox/requests?path=^/vendor", trust_env=False).json()
        return [row for row in served if row["credential_last_four"] == self.seed[-4:]]

    def usage(self, days: list[date] = DAYS) -> dict[str, dict[str, Any]]:
        asked = ", ".join(f"'{day}'" for day in days)
        rows = self.org.rows("vendor_usage_daily_raw", f"WHERE usage_date IN ({asked})")
        return {row["usage_id"]: row for row in rows}


class Seats(Vendor):
    """The same org at a vendor that only its own folder of configurations knows."""

    def __init__(self, org: OrgEnv, sandbox: SandboxProcess, folder: Path) -> None:
        super().__init__(org, sandbox)
        base = {custom_configs.VENDOR: f"{sandbox.providers}/vendor/v1"}
        self.org = org.served_by(configs_dir=custom_configs.make(folder), provider_base_urls=base)

    def snapshot(self, style: str, days: list[date] | None = None, **changes: Any) -> StepResult:
        values = {
            "url": f"{custom_configs.BASE}/{style}/users",
            "auth": {"type": "header", "provider": custom_configs.VENDOR},
            "pagination": PAGINGS[style],
            **changes,
        }
        return self.run(changed(USERS, **values), days or [YESTERDAY])

    def kept(self, day: date = YESTERDAY) -> list[dict[str, Any]]:
        return self.org.rows("seats_users_raw", f"WHERE seen_on = '{day}' ORDER BY id")


@pytest.fixture
def seats(org: OrgEnv, sandbox: SandboxProcess, tmp_path: Path) -> Iterator[Seats]:
    yield Seats(org, sandbox, tmp_path / "configs")
    httpx.delete(f"{sandbox.providers}/_sandbox/faults", trust_env=False)


@pytest.fixture
def vendor(org: OrgEnv, sandbox: SandboxProcess) -> Iterator[Vendor]:
    yield Vendor(org, sandbox)
    httpx.delete(f"{sandbox.providers}/_sandbox/faults", trust_env=False)


def test_every_row_is_in_its_day_typed_and_once(vendor: Vendor) -> None:
    result = vendor.run(changed(USAGE))
    told: list[dict[str, Any]] = [
        dict(row) for day in DAYS for row in build_usage(vendor.seed, day)
    ]
    found = vendor.usage()
    assert result.rows_processed == len(told) == len(found)
    for row in told:
        kept = found[row["id"]]
        assert kept["usage_date"] == date.fromisoformat(row["day"])
        assert kept["quantity"] == Decimal(row["quantity"])
        assert kept["workspace_id"] == row["workspace"]["id"]
        assert kept["plan"] == row["workspace"]["plan"]
        assert kept["extra"] is None


def test_running_again_finds_every_day_unchanged(vendor: Vendor) -> None:
    first = vendor.run(changed(USAGE))
    again = vendor.run(changed(USAGE), run_id="run_2")
    assert first.details["days_published"] == 3
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, 3)


def test_a_list_by_post_is_asked_for_in_its_body(vendor: Vendor) -> None:
    config = changed(
        USAGE,
        url=f"{BASE}/usage/search",
        method="POST",
        params={},
        body={"from": "{first_day}", "to": "{last_day}"},
    )
    assert vendor.run(config).rows_processed == len(
        [row for day in DAYS for row in build_usage(vendor.seed, day)]
    )
    assert {row["method"] for row in vendor.requests()} == {"POST"}
    assert {tuple(row["query"]) for row in vendor.requests()} == {()}


@pytest.mark.parametrize("style", PAGINGS)
def test_every_paging_gives_a_whole_snapshot(seats: Seats, style: str) -> None:
    seats.snapshot(style)
    told = users(seats.seed)
    assert [row["id"] for row in seats.kept()] == [row["id"] for row in told]
    first = seats.kept()[0]
    assert (first["is_active"], first["seats"]) == (told[0]["active"], told[0]["seats"])
    assert first["created_on"] == date(2026, 1, 1)
    assert first["extra"] == {"email": told[0]["email"]}


@pytest.mark.parametrize("auth", AUTHS)
def test_every_kind_of_credential_is_taken(seats: Seats, auth: str) -> None:
    if auth == "basic":
        seats.org.env.keys[seats.org.slug] = f"user:vendor-sandbox-{seats.seed}"
    result = seats.snapshot("link-body", auth={**AUTHS[auth], "provider": "SEATS_VENDOR"})
    assert result.rows_processed == len(users(seats.seed))
    newest = httpx.get(f"{seats.url}/_sandbox/requests", trust_env=False).json()[-1]
    placed = (newest["credential_header"], [name for name, _ in newest["query"]].count("api_key"))
    header = {"bearer": "authorization", "basic": "authorization", "header": "x-api-key"}
    assert placed == ((header[auth], 0) if auth in header else (newest["credential_header"], 1))


def test_a_snapshot_is_of_the_day_that_has_just_ended_and_no_other(seats: Seats) -> None:
    before = YESTERDAY - timedelta(days=1)
    first = seats.snapshot("cursor", [before, YESTERDAY])
    assert first.details["days_not_observed"] == [before.isoformat()]
    assert seats.kept(before) == []
    later = copy(seats)
    later.org = seats.org.at(NOW + timedelta(days=1))
    again = later.snapshot("cursor", [YESTERDAY, NOW.date()])
    assert again.details["days_kept"] == 1
    assert len(seats.kept()) == len(seats.kept(NOW.date())) == len(users(seats.seed))


def test_fields_without_a_column_are_kept_and_counted(seats: Seats) -> None:
    seats.lay(kind="new_field", count=None)
    result = seats.snapshot("cursor")
    many = len(users(seats.seed))
    counted = {"email": many, "x_sandbox_new.level": many, "x_sandbox_new.since": many}
    assert result.details["unknown_fields"] == counted
    assert seats.kept()[0]["extra"]["x_sandbox_new"]["level"] == 3


def test_a_page_whose_types_changed_is_kept_aside_and_named(seats: Seats) -> None:
    seats.lay(kind="type_drift", skip=1)
    with pytest.raises(ProviderProtocolError, match="id has another type") as failure:
        seats.snapshot("cursor")
    place = failure.value.details["quarantined"]
    kept = seats.org.env.settings.var_dir / str(place)
    assert b'"id":{"value":101}' in gzip.decompress(kept.read_bytes())
    assert seats.org.env.keys[seats.org.slug].encode() not in gzip.decompress(kept.read_bytes())
    assert seats.kept() == []


def test_a_credential_never_goes_outside_of_its_providers_base_url(vendor: Vendor) -> None:
    with pytest.raises(ConfigurationError, match="outside"):
        vendor.run(changed(USAGE, url="https://api.vendor.example.evil.test/v1/usage"))
    assert vendor.requests() == []


def test_a_throttled_request_is_left_to_the_next_try_where_the_config_says_so(
    vendor: Vendor,
) -> None:
    vendor.lay(kind="rate_limited", options={"retry_after": "0"})
    limit = {"requests_per_second": 500, "retry_on_429": False}
    with pytest.raises(ProviderUnavailableError):
        vendor.run(changed(USAGE, rate_limit=limit))
    asked = len(vendor.requests())
    vendor.run(changed(USAGE, rate_limit=limit), attempt=2)
    assert asked == 1


def test_small_pages_are_made_durable_together_and_kept_when_the_provider_fails(
    vendor: Vendor,
) -> None:
    small = {**USAGE["pagination"], "limit": 10}
    vendor.lay(kind="status", skip=3, count=6)
    with pytest.raises(ProviderUnavailableError):
        vendor.run(changed(USAGE, pagination=small))
    (page,) = vendor.org.env.settings.var_dir.glob(f"spool/*/{vendor.org.slug}/**/*.page")
    head = json.loads(page.read_bytes().partition(b"\n")[0])
    assert (head["pages"], head["rows"]) == (3, 30)
    before = len(vendor.requests())
    vendor.run(changed(USAGE, pagination=small), attempt=2)
    whole = sum(len(build_usage(vendor.seed, day)) for day in DAYS)
    assert len(vendor.usage()) == whole
    assert len(vendor.requests()) - before == -(-whole // 10) - 3


def test_a_credential_is_found_by_the_name_the_org_gave_it(seats: Seats) -> None:
    services = replace(
        seats.org.env.services,
        provider_of_credential=lambda _org, name: {"mine": custom_configs.VENDOR}[name],
    )
    seats.org = OrgEnv(replace(seats.org.env, services=services), seats.org.slug)
    auth = {"type": "header"}
    result = seats.snapshot("cursor", auth=auth, secret_key="mine")
    assert result.rows_processed == len(users(seats.seed))
    with pytest.raises(ConfigurationError, match="another provider"):
        seats.snapshot("cursor", auth={**auth, "provider": "openai"}, secret_key="mine")


def test_rows_of_a_list_of_everything_are_picked_by_day(vendor: Vendor) -> None:
    config = changed(
        USAGE,
        params={"from": "2026-11-10", "to": "2026-11-19"},
        destination={"table": "vendor_usage_daily_raw"},
    )
    vendor.run(config, [DAYS[1]])
    assert set(vendor.usage()) == {row["id"] for row in build_usage(vendor.seed, DAYS[1])}
