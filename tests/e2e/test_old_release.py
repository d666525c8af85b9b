"""The whole stack on the data directory that an old release left behind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from e2e.customers import fleet_run
from e2e.harness import RunningStack, start_stack
from support.old_release import assert_costs_include, recorded, unpack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

RUN_SECONDS = 400


@pytest.fixture(scope="module")
def key_and_stack(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, RunningStack]]:
    var_dir = tmp_path_factory.mktemp("old") / "var"
    key = unpack(var_dir)
    stack = start_stack(var_dir, schedule=False)
    yield key, stack
    stack.stop(within=90)


def sum_by_provider(rows: list[dict[str, Any]], basis: str) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        if row["basis"] == basis:
            sums[row["provider"]] += Decimal(row["cost"] or 0)
    return sums


def requests_served(stack: RunningStack) -> list[Any]:
    url = f"{stack.providers_url}/_sandbox/requests"
    served: list[Any] = httpx.get(url, timeout=20, trust_env=False).json()
    return served


def test_an_upgrade_keeps_figures_and_asks_no_provider(
    key_and_stack: tuple[str, RunningStack],
) -> None:
    """Also when cost is computed again: from the usage and prices that are there."""
    key, stack = key_and_stack
    expected, org = recorded(), recorded()["org_slug"]
    with stack.org(key) as client, stack.root() as root:
        assert_costs_include(client.get(f"/costs/{org}", **expected["query"]), expected["costs"])
        # As the changelog asks after an upgrade: central tables gain their new columns.
        assert root.post("/admin/bootstrap", {"force_recreate_dataset": False})
        with stack.airflow() as airflow:
            assert fleet_run(airflow, "platform.publish_costs") == "success"
        started = client.post(expected["repeated"]["path"], expected["days"])
        (run,) = client.wait_for_runs(org, [started["run_id"]], seconds=RUN_SECONDS)
        assert run["status"] == "SUCCESS", run
        for basis in {row["basis"] for row in expected["costs"]["rows"]}:
            before = sum_by_provider(expected["costs"]["rows"], basis)
            now = client.get(f"/costs/{org}", **expected["query"], basis=basis)
            after = sum_by_provider(now["rows"], basis)
            assert {name: after[name] for name in before} == before
    assert requests_served(stack) == []
