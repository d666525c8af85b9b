"""The main job on a running stack: two customers from nothing to their daily cost, and attacks."""

from __future__ import annotations

import base64
import collections
import json
import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from e2e import oracle
from e2e.customers import (
    DAYS,
    RANGE,
    YESTERDAY,
    Customer,
    fingerprint,
    fleet_run,
    onboard,
    range_body,
    run_to_end,
    warehouse,
)
from e2e.harness import RunningStack, only_loopback
from stack.client import ApiRequestError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

USAGE_COST = "openai/cost/usage_cost"
DAG = "openai.cost.usage_cost"
TABLES = ("openai_usage_daily_raw", "openai_cost_daily")


@pytest.fixture(scope="module")
def refused_before_bootstrap(stack: RunningStack) -> dict[str, Any]:
    """What onboarding answers while there is no central dataset."""
    body = {"org_slug": "early_bird", "company_name": "E", "admin_email": "e@example.com"}
    with stack.root() as root, pytest.raises(ApiRequestError) as caught:
        root.post("/organizations/onboard", body)
    return caught.value.problem | {"seen_status": caught.value.status}


@pytest.fixture(scope="module")
def customers(
    stack: RunningStack, refused_before_bootstrap: dict[str, Any]
) -> tuple[Customer, Customer]:
    assert refused_before_bootstrap
    with stack.root() as root:
        made = root.post("/admin/bootstrap", {"force_recreate_dataset": False})
        assert len(made["tables_created"]) == 15
        assert root.post("/admin/bootstrap", {})["tables_created"] == []
    pair = Customer("umbrella_co"), Customer("wayne_ent")

    def settle(customer: Customer) -> None:
        onboard(stack, customer, imports=customer is pair[0])
        customer.answers["run"] = run_to_end(stack, customer, USAGE_COST, range_body())

    with ThreadPoolExecutor() as pool:
        list(pool.map(settle, pair))
    return pair


@pytest.fixture
def bystander(stack: RunningStack, customers: tuple[Customer, Customer]) -> Iterator[Customer]:
    """A customer whose tables must be as they were, whatever a test does to another."""
    other = customers[1]
    before = fingerprint(stack, other.dataset, *TABLES)
    yield other
    assert fingerprint(stack, other.dataset, *TABLES) == before


def test_a_run_before_bootstrap_says_so(refused_before_bootstrap: dict[str, Any]) -> None:
    assert refused_before_bootstrap["seen_status"] in (409, 502)
    assert "bootstrap" in refused_before_bootstrap["detail"].lower()


def test_every_port_is_on_loopback(stack: RunningStack) -> None:
    only_loopback(stack)


def test_every_cost_equals_an_independent_calculation(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    for customer in customers:
        expected: dict[tuple[str, str], Decimal] = collections.defaultdict(Decimal)
        usage = oracle.fetch_usage(
            f"{stack.providers_url}/openai/v1", customer.openai_key, RANGE[0], RANGE[1]
        )
        for row in usage:
            expected[row["day"].isoformat(), row["model"]] += oracle.price(row)
        with customer.client(stack) as client:
            query = {"group_by": "day,model", "basis": "computed", **range_body()}
            told = client.get(f"/costs/{customer.slug}", **query)
        priced = [row for row in told["rows"] if row["cost"] is not None]
        assert {(row["day"], row["model"]): Decimal(row["cost"]) for row in priced} == expected
        assert told["currency"] == "USD"
        assert told["basis"] == "computed"
        # The quality of images and the free part of storage are in no usage report.
        assert {(row["model"], row["reason"]) for row in told["unpriced"]} <= {
            ("gpt-image-1", "unknown_unit"),
            ("vector_stores", "unknown_unit"),
        }
        assert {row["day"] for row in told["rows"]} <= {day.isoformat() for day in DAYS}


def test_the_same_trigger_again_leaves_the_tables_byte_equal(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    customer = customers[0]
    before = fingerprint(stack, customer.dataset, *TABLES)
    assert before[TABLES[0]][0] > 0
    run = run_to_end(stack, customer, USAGE_COST, range_body())
    assert run["status"] == "SUCCESS"
    assert fingerprint(stack, customer.dataset, *TABLES) == before


@pytest.mark.slow
def test_a_model_without_a_price_is_listed_and_never_zero(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    assert customers
    customer = Customer("unpriced_labs")
    onboard(stack, customer)
    run = run_to_end(stack, customer, USAGE_COST, {"date": YESTERDAY.isoformat()})
    assert run["status"] == "SUCCESS"
    with customer.client(stack) as client:
        told = client.get(f"/costs/{customer.slug}", group_by="model", **range_body())
    reasons = {(row["model"], row["reason"]) for row in told["unpriced"]}
    assert ("gpt-sandbox-preview-2024-10-01", "no_price") in reasons
    costs = {row["model"]: row["cost"] for row in told["rows"]}
    assert costs["gpt-sandbox-preview-2024-10-01"] is None
    assert "unpriced" in str(run).lower()


@pytest.mark.slow
def test_a_run_without_conf_does_what_is_due_and_the_next_finds_nothing(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    with stack.airflow() as airflow:
        assert fleet_run(airflow, DAG, seconds=500) == "success"
        days = _slice_days(stack, customers[0])
        assert max(days) == YESTERDAY
        assert len(days) >= 30
        jobs = _publishes(stack)
        assert fleet_run(airflow, DAG) == "success"
    assert _publishes(stack) == jobs


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_killed_extraction_is_retried_to_the_same_tables(
    stack: RunningStack, customers: tuple[Customer, Customer], seconds: float
) -> None:
    customer = customers[0]
    before = fingerprint(stack, customer.dataset, *TABLES)
    # Something has to be published: the partition is emptied behind the ledger's back.
    client = warehouse(stack)
    client.query_and_wait(
        f"DELETE FROM `local-dev-project.{customer.dataset}.openai_usage_daily_raw` "
        f"WHERE usage_date = '{YESTERDAY}'"
    )
    fault = {"kind": "hang", "key": customer.slug, "count": 1}
    httpx.post(f"{stack.providers_url}/_sandbox/faults", json=fault).raise_for_status()
    with customer.client(stack, **{"Idempotency-Key": secrets.token_hex(8)}) as api:
        accepted = api.post(f"/pipelines/run/{customer.slug}/{USAGE_COST}", range_body())
        killed = _kill_the_extraction(stack, after=seconds)
        run = api.wait_for_run(accepted["status_url"], seconds=240)
    httpx.delete(f"{stack.providers_url}/_sandbox/faults").raise_for_status()
    assert killed
    assert run["status"] == "SUCCESS"
    assert fingerprint(stack, customer.dataset, *TABLES) == before


def test_no_secret_is_found_anywhere(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    needles = {
        form
        for customer in customers
        for secret in (customer.openai_key, customer.key)
        for form in _forms(secret)
    }
    assert _files_with(stack.var_dir / "airflow", needles) == []
    assert _files_with(stack.var_dir / "log", needles) == []
    assert _files_with(stack.var_dir / "state", needles) == []
    assert _files_with(stack.var_dir / "spool", needles) == []
    assert _files_with(stack.var_dir / "sandbox", needles) == []
    assert not [line for line in stack.commands() if any(n.decode() in line for n in needles)]
    with sqlite3.connect(stack.var_dir / "airflow" / "airflow.db") as database:
        dump = "\n".join(database.iterdump()).encode()
    assert b"dag_run" in dump
    assert not [needle for needle in needles if needle in dump]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"start_date": "2026-11-19", "end_date": "2026-11-17"}, "before"),
        ({"start_date": "2024-01-01", "end_date": "2025-06-01"}, "366"),
        ({"start_date": "2026-02-30", "end_date": "2026-03-01"}, "day"),
        ({"date": "2026-11-17", "colour": "red"}, "colour"),
        ({"start_date": "2026-11-17"}, "end_date"),
    ],
)
def test_a_bad_range_is_refused_by_name_and_starts_nothing(
    stack: RunningStack, customers: tuple[Customer, Customer], body: dict[str, str], told: str
) -> None:
    customer = customers[0]
    with customer.client(stack) as client:
        before = client.get(f"/pipelines/runs/{customer.slug}")
        with pytest.raises(ApiRequestError) as caught:
            client.post(f"/pipelines/run/{customer.slug}/{USAGE_COST}", body)
        assert client.get(f"/pipelines/runs/{customer.slug}") == before
    assert caught.value.status == 422
    assert told in str(caught.value.problem)


def test_one_customers_key_opens_nothing_of_anothers(
    stack: RunningStack, customers: tuple[Customer, Customer], bystander: Customer
) -> None:
    attacker = customers[0]
    run = bystander.answers["run"]["run_id"]
    with attacker.client(stack) as client:
        for path in (
            f"/costs/{bystander.slug}",
            f"/pipelines/runs/{bystander.slug}",
            f"/pipelines/runs/{bystander.slug}/{run}",
            f"/pipelines/runs/{attacker.slug}/{run}",
            f"/integrations/{bystander.slug}/openai",
            "/costs/nobody_at_all",
        ):
            with pytest.raises(ApiRequestError) as caught:
                client.get(path)
            assert caught.value.status == 404, path
            assert bystander.slug not in str(caught.value.problem.get("detail"))
        with pytest.raises(ApiRequestError) as caught:
            client.post(f"/pipelines/run/{bystander.slug}/{USAGE_COST}", range_body())
        assert caught.value.status == 404


def test_a_refused_provider_key_is_not_stored(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    customer = customers[1]
    with customer.client(stack) as client:
        with pytest.raises(ApiRequestError) as caught:
            client.post(
                f"/integrations/{customer.slug}/openai/setup",
                {"credential": "sk-proj-not-an-admin-key", "credential_name": "x"},
            )
        kept = client.get(f"/integrations/{customer.slug}/openai")
    assert caught.value.problem["validation_status"] == "INVALID"
    assert kept["validation_status"] == "VALID"
    assert kept["credential_id"] == customer.answers["setup"]["credential_id"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["status", "html", "malformed"])
def test_a_faulty_provider_leaves_the_tables_as_they_were(
    stack: RunningStack, customers: tuple[Customer, Customer], bystander: Customer, kind: str
) -> None:
    assert bystander
    customer = customers[0]
    before = fingerprint(stack, customer.dataset, *TABLES)
    faults = f"{stack.providers_url}/_sandbox/faults"
    fault = {"kind": kind, "count": 2, "path": "openai"}
    httpx.post(faults, json=fault).raise_for_status()
    try:
        run = run_to_end(stack, customer, USAGE_COST, {"date": YESTERDAY.isoformat()})
    finally:
        httpx.delete(faults).raise_for_status()
    assert run["status"] in ("SUCCESS", "FAILED")
    if run["status"] == "FAILED":
        assert run["error"]["code"]
    assert fingerprint(stack, customer.dataset, *TABLES) == before


def test_of_a_failed_run_the_administrator_and_the_platform_hear_once_each(
    stack: RunningStack, customers: tuple[Customer, Customer]
) -> None:
    customer = customers[0]
    faults, mail, slack = (
        f"{stack.providers_url}/_sandbox/{name}" for name in ("faults", "mail", "slack")
    )
    before = fingerprint(stack, customer.dataset, *TABLES)
    for told in (mail, slack):
        httpx.delete(told).raise_for_status()
    refusal = {"kind": "status", "path": "openai", "key": customer.slug, "count": None}
    httpx.post(faults, json=refusal | {"options": {"status": 400}}).raise_for_status()
    try:
        run = run_to_end(stack, customer, USAGE_COST, {"date": YESTERDAY.isoformat()})
    finally:
        httpx.delete(faults).raise_for_status()
    assert run["status"] == "FAILED"
    deadline = time.monotonic() + 30
    while not (letters := httpx.get(mail).json()) or not (posts := httpx.get(slack).json()):
        assert time.monotonic() < deadline, "no notification was sent"
        time.sleep(0.5)
    (letter,), (post,) = letters, posts
    assert letter["to"] == ["cfo@example.com"]
    assert run["run_id"] in letter["text"]
    assert customer.slug in json.dumps(post)
    assert customer.openai_key not in json.dumps([letters, posts])
    with customer.client(stack) as client:
        again = client.get(f"/pipelines/runs/{customer.slug}/{run['run_id']}")
    assert [(one["channel"], one["status"]) for one in again["notifications"]] == [
        ("email", "SENT")
    ]
    assert fingerprint(stack, customer.dataset, *TABLES) == before


def _slice_days(stack: RunningStack, customer: Customer) -> set[Any]:
    sql = (
        "SELECT DISTINCT slice_day FROM `local-dev-project.organizations.org_meta_slices` "
        f"WHERE org_slug = '{customer.slug}' AND checked_at >= '2000-01-01'"
    )
    return {row["slice_day"] for row in warehouse(stack).query_and_wait(sql)}


def _publishes(stack: RunningStack) -> int:
    sql = (
        "SELECT COUNT(*) AS n FROM `local-dev-project.organizations.org_meta_slices` "
        "WHERE checked_at >= '2000-01-01'"
    )
    return int(next(iter(warehouse(stack).query_and_wait(sql)))["n"])


def _kill_the_extraction(stack: RunningStack, *, after: float) -> int:
    """SIGKILL what runs a task, `after` seconds into a request that hangs; how many."""
    deadline = time.monotonic() + 60
    while not httpx.get(f"{stack.providers_url}/_sandbox/faults").json()[0]["struck"]:
        assert time.monotonic() < deadline, "the extraction asked nothing"
        time.sleep(0.1)
    time.sleep(after)
    tasks = [process for process in stack.family() if _runs_a_task(process)]
    for process in tasks:
        os.kill(process.pid, signal.SIGKILL)
    return len(tasks)


def _runs_a_task(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        is_task = "airflow worker" in " ".join(process.cmdline())
        return bool(is_task and parent and "airflow worker" in " ".join(parent.cmdline()))
    except psutil.NoSuchProcess:
        return False


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode()
    return {raw, base64.b64encode(raw), quote(secret, safe="").encode()}


def _files_with(folder: Path, needles: set[bytes]) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "passwords.json":
            content = path.read_bytes()
            found += [str(path) for needle in needles if needle in content]
    return found
