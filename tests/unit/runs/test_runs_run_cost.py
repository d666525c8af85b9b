"""What is used is counted for the one it is used for, and logged with its cost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence import metering
from convergence.errors import ConfigurationError
from convergence.metering import Resource, Use, Used, add_usage, metered, record_usage
from convergence.runs.records import RunRecords
from convergence.runs.run_cost import COST_LOG, ResourceRate, RunCostRates, load_run_cost_rates
from convergence.settings import PROJECT_ROOT
from convergence.state import org_steps, outbox
from convergence.state.org_runs import OrgRun
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from convergence.warehouse.schemas import TableSchema
from support.run_records import admit_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
RUN = OrgRun(
    run_id="run_1",
    org_slug="acme_corp",
    pipeline_id="openai-usage-cost",
    dag_id="openai.cost.usage_cost",
    dag_run_id="manual__1",
    trigger="api",
    requested_by="key_1",
    created_at=NOW,
)
STEP = OrgStep("run_1", "extract_usage", "acme_corp", "openai.usage", 1, NOW)
COST_SCHEMA = TableSchema.load(
    PROJECT_ROOT / "include/configs/setup/bootstrap/schemas/org_cost_tracking.json"
)

counts = st.integers(min_value=0, max_value=2**40)
uses = st.builds(Use, *[counts] * 7)
several = st.dictionaries(st.sampled_from(Resource), uses)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


@pytest.fixture
def records(store: StateStore) -> RunRecords:
    records = RunRecords(store)
    admit_run(store, RUN, limits=RunLimits(100, 100, 100), now=NOW)
    return records


def finish_step(records: RunRecords, used: Used, *, attempt: int = 1) -> bool:
    records.start_step(replace(STEP, attempt=attempt))
    return records.finish_step(
        "run_1", "extract_usage", attempt=attempt, status=StepStatus.FAILED, now=NOW, used=used
    )


def lines(store: StateStore) -> list[dict[str, Any]]:
    with store.read() as conn:
        return outbox.list_waiting_rows(conn, COST_LOG)


def test_threads_that_serve_two_orgs_at_once_count_each_its_own() -> None:
    both = threading.Barrier(2, timeout=10)
    found: dict[str, Used] = {}

    def serve(org: str, calls: int) -> None:
        with metered() as meter:
            for _ in range(calls):
                both.wait()
                record_usage(Resource.PROVIDER, Use(calls=len(org)))
        found[org] = meter.used

    threads = [threading.Thread(target=serve, args=(org, 50)) for org in ("a", "bbb")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == {
        "a": {Resource.PROVIDER: Use(calls=50)},
        "bbb": {Resource.PROVIDER: Use(calls=150)},
    }


def test_nothing_is_counted_outside_of_a_meter() -> None:
    record_usage(Resource.QUERY, Use(calls=1))
    with metered() as meter:
        pass
    record_usage(Resource.QUERY, Use(calls=1))
    assert meter.used == {}


@given(several, several)
def test_a_sum_is_the_same_whatever_the_order_and_survives_the_store(one: Used, two: Used) -> None:
    assert add_usage([one, two]) == add_usage([two, one])
    assert metering.load_usage(metering.dump_usage(one)) == add_usage([one])
    assert metering.load_usage(None) == {}


def test_attempts_add_up_in_the_record_and_stay_apart_in_the_log(
    records: RunRecords, store: StateStore
) -> None:
    first = {Resource.PROVIDER: Use(calls=3, retries=1, pages=2, bytes_received=700)}
    second = {
        Resource.PROVIDER: Use(calls=1, pages=1, bytes_received=300),
        Resource.QUERY: Use(calls=2, bytes_billed=20 * 2**20, slot_ms=12),
    }
    assert finish_step(records, first)
    assert finish_step(records, second, attempt=2)
    with store.read() as conn:
        step = org_steps.get_step(conn, "run_1", "extract_usage")
    assert step is not None
    assert step.used == add_usage([first, second])
    rows = lines(store)
    assert [(row["resource"], row["calls"]) for row in rows] == [
        ("provider_call", 3), ("provider_call", 1), ("bigquery_query", 2),
    ]  # fmt: skip
    assert len({row["event_id"] for row in rows}) == 3
    assert {row["pipeline_id"] for row in rows} == {"acme_corp-openai-usage-cost"}
    assert [row["estimated_cost"] for row in rows] == ["0.000000000", "0.000000000", "0.000119209"]


def test_an_overtaken_attempt_is_logged_too(records: RunRecords, store: StateStore) -> None:
    records.start_step(STEP)
    records.start_step(replace(STEP, attempt=2))
    ended = records.finish_step(
        "run_1", "extract_usage", attempt=1, status=StepStatus.FAILED, now=NOW,
        used={Resource.LOAD: Use(calls=1)},
    )  # fmt: skip
    assert not ended
    assert [row["resource"] for row in lines(store)] == ["bigquery_load"]


def test_a_line_of_the_log_fits_its_table(records: RunRecords, store: StateStore) -> None:
    finish_step(records, {resource: Use(*range(1, 8)) for resource in Resource})
    columns = {field.name for field in COST_SCHEMA.fields}
    assert [set(row) for row in lines(store)] == [columns] * len(Resource)


@given(uses)
def test_the_estimate_follows_from_bytes_and_calls(use: Use) -> None:
    rates = RunCostRates(
        currency="USD",
        rates={
            Resource.QUERY: ResourceRate(per_tebibyte_billed=Decimal("6.25")),
            Resource.KMS: ResourceRate(per_million_calls=Decimal(3)),
        },
    )
    expected = Decimal("6.25") * use.bytes_billed / 2**40 + Decimal(3) * use.calls / 10**6
    used = {Resource.QUERY: use, Resource.KMS: use, Resource.LOAD: use}
    found = rates.estimate(used)
    assert abs(found.amount - expected) <= Decimal("5e-10")
    assert found.currency == "USD"


def test_the_rates_are_read_from_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert load_run_cost_rates().rates[Resource.QUERY].per_tebibyte_billed == Decimal("6.25")
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "run_costs.yml").write_text("currency: usd\nrates: {tape: {}}\n")
    monkeypatch.setattr("convergence.runs.run_cost.get_settings", lambda: _Folder(tmp_path))
    with pytest.raises(ConfigurationError, match=r"run_costs.yml:1:1.*run_costs.yml:2:"):
        load_run_cost_rates()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.configs_dir = folder
