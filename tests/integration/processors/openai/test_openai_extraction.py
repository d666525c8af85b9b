"""Usage from the stand-in's HTTP API into published days, with everything real in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from convergence.errors import ProviderProtocolError, ProviderRejectedError
from convergence.extract import stream
from convergence.processors.lib.daily import extraction
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import (
    GROUPABLE,
    CostConfig,
    SeedCsvConfig,
    UsageConfig,
)
from convergence.processors.openai.extraction import extract_usage
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

DAYS = [date(2026, 11, day) for day in (14, 16, 17, 18)]
CONFIG = UsageConfig.from_values(
    {
        "endpoints": [
            {"endpoint": name, "group_by": list(GROUPABLE[name])}
            for name in ("completions", "embeddings")
        ],
        "buckets_per_page": 2,
    }
)


@pytest.fixture
def faults(sandbox: SandboxProcess) -> Iterator[str]:
    """Where faults are laid; none is left behind."""
    url = f"{sandbox.providers}/_sandbox/faults"
    yield url
    httpx.delete(url, trust_env=False)


@pytest.fixture
def connected(org: OrgEnv) -> OrgEnv:
    # The sandbox derives the usage from this name; another name may have days without any.
    org.env.keys[org.slug] = "sk-admin-sandbox-globex"
    return org


def raw(org: OrgEnv, day: date) -> list[dict[str, Any]]:
    rows = org.rows("openai_usage_daily_raw", f"WHERE usage_date = '{day}'")
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def results(org: OrgEnv, day: date, endpoint: str) -> list[dict[str, Any]]:
    """What the API itself says of a day."""
    start = int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp())
    answer = httpx.get(
        f"{org.env.settings.openai_base_url}/organization/usage/{endpoint}",
        params={
            "start_time": start,
            "end_time": start + 86_400,
            "bucket_width": "1d",
            "group_by": list(GROUPABLE[endpoint]),
        },
        headers={"Authorization": f"Bearer {org.env.keys[org.slug]}"},
        trust_env=False,
    )
    found: list[dict[str, Any]] = answer.raise_for_status().json()["data"][0]["results"]
    return found


def test_every_asked_day_is_published_with_every_field(connected: OrgEnv) -> None:
    result = extract_usage(connected.context(DAYS), CONFIG)
    assert result.details["days_published"] == len(DAYS)
    total = 0
    for day in DAYS:
        rows = raw(connected, day)
        told = [r for name in ("completions", "embeddings") for r in results(connected, day, name)]
        kept = [{name: row[name] for name in row if row[name] is not None} for row in rows]
        for one in told:
            fields = {name: value for name, value in one.items() if value is not None}
            assert any(fields.items() <= row.items() for row in kept)
        assert len(rows) == len(told)
        total += len(rows)
    assert result.rows_processed == total > 0
    assert raw(connected, date(2026, 11, 15)) == []


def test_extracting_again_publishes_nothing_and_leaves_the_rows(connected: OrgEnv) -> None:
    extract_usage(connected.context(DAYS), CONFIG)
    before = [raw(connected, day) for day in DAYS]
    again = extract_usage(connected.context(DAYS, run_id="run_2"), CONFIG)
    assert (again.details["days_published"], again.details["days_unchanged"]) == (0, len(DAYS))
    assert [raw(connected, day) for day in DAYS] == before


def test_a_retry_goes_on_from_the_pages_it_has(
    connected: OrgEnv, monkeypatch: pytest.MonkeyPatch, sandbox: SandboxProcess
) -> None:
    pages = 0

    def dies(*args: Any, **kwargs: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    original = stream._Extraction._fetch_page
    with monkeypatch.context() as patch:
        patch.setattr(stream._Extraction, "_fetch_page", dies)
        with pytest.raises(KeyboardInterrupt):
            extract_usage(connected.context(DAYS[1:]), CONFIG)
    httpx.delete(f"{sandbox.providers}/_sandbox/requests", trust_env=False)
    extract_usage(connected.context(DAYS[1:], attempt=2), CONFIG)
    asked = httpx.get(
        f"{sandbox.providers}/_sandbox/requests",
        params={"path": "organization/usage"},
        trust_env=False,
    ).json()
    # Three days, two to a page, two endpoints: four pages, of which two were on disk.
    assert len(asked) == 2
    told = results(connected, DAYS[-1], "completions") + results(connected, DAYS[-1], "embeddings")
    assert len(raw(connected, DAYS[-1])) == len(told)


def test_pages_older_than_what_another_run_published_are_not_used(
    connected: OrgEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "publish_days", _only_extract)
        extract_usage(connected.context(DAYS[1:]), CONFIG)
    spool = connected.context(DAYS[1:]).spool_dir
    assert list(spool.glob("*/work-*/*.page"))
    later = connected.at(NOW + timedelta(minutes=5))
    extract_usage(later.context(DAYS[1:], run_id="run_2"), CONFIG)

    opened: list[int] = []

    def seen(*args: Any, **kwargs: Any) -> Any:
        opened.append(len(args[2].records))
        return original(*args, **kwargs)

    original = stream.extract_pages
    monkeypatch.setattr(f"{extraction.__name__}.extract_pages", seen)
    retry = connected.at(NOW + timedelta(minutes=10))
    extract_usage(retry.context(DAYS[1:], attempt=2), CONFIG)
    assert opened == [0]


def _only_extract(org: Any, source: Any, days: Any) -> Any:
    from convergence.processors.lib.daily.slices import Published, take_attempts

    source.prepare(take_attempts(org, days, table=source.table), round_number=0)
    for day in days:
        source.content(day)
    return Published()


def test_a_key_that_is_refused_fails_for_good_and_publishes_nothing(connected: OrgEnv) -> None:
    connected.env.keys[connected.slug] = "sk-admin-nobody-knows"
    with pytest.raises(ProviderRejectedError):
        extract_usage(connected.context(DAYS), CONFIG)
    assert connected.rows("openai_usage_daily_raw", "WHERE usage_date > '2000-01-01'") == []


@pytest.mark.parametrize(
    "kind",
    [
        *("html", "type_drift", "duplicate_rows", "loop", "empty_page", "null_page"),
        *("missing_page", "shifted_window"),
    ],
)
def test_a_broken_answer_is_a_named_failure_and_publishes_nothing(
    connected: OrgEnv, faults: str, kind: str
) -> None:
    fault = {"kind": kind, "path": "organization/usage/completions", "count": None}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    with pytest.raises(ProviderProtocolError):
        extract_usage(connected.context(DAYS[1:]), CONFIG)
    assert connected.rows("openai_usage_daily_raw", "WHERE usage_date > '2000-01-01'") == []


def test_a_field_that_nobody_documented_is_kept(connected: OrgEnv, faults: str) -> None:
    fault = {"kind": "new_field", "path": "organization/usage/completions", "count": None}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    extract_usage(connected.context(DAYS[1:]), CONFIG)
    rows = [row for day in DAYS[1:] for row in raw(connected, day)]
    assert any(row["extra"] for row in rows if row["endpoint"] == "completions")
    assert not any(row["extra"] for row in rows if row["endpoint"] == "embeddings")


def test_no_days_ask_nothing(connected: OrgEnv) -> None:
    assert extract_usage(connected.context([]), CONFIG).status == "SKIPPED"


def test_usage_becomes_cost_and_the_unpriced_rest_is_listed(org: OrgEnv) -> None:
    org.env.keys[org.slug] = f"sk-admin-sandbox-{org.slug}-unpriced"
    seed = SeedCsvConfig()
    context = org.context(DAYS)
    seed_prices(context, seed)
    extract_usage(context, CONFIG)
    result = price_usage(org.context(DAYS, step="cost"), CostConfig())
    rows = org.rows("openai_cost_daily")
    priced = [row for row in rows if row["pricing_status"] == "PRICED"]
    total = sum((row["effective_cost"] for row in priced), Decimal(0))
    assert result.details["effective_cost"] == {"USD": format(total, "f")}
    assert result.details["unpriced_rows"] == len(rows) - len(priced) > 0
    assert {line["reason"] for line in result.details["unpriced"]} == {"no_price"}
    assert total > 0
