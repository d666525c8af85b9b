"""The audit's promise, the plans, the statuses, the datasets and what is masked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import (
    ConfigurationError,
    RequestError,
    StateUnavailableError,
    WarehouseUnavailableError,
)
from convergence.security.redaction import redact
from convergence.settings import Settings, get_settings
from convergence.state import outbox
from convergence.state.store import StateStore
from convergence.tenants import credentials, datasets, quotas
from convergence.tenants.audit import Actor, AuditedAction, AuditResult, append_entry, audit_change
from convergence.tenants.audit_chain import GENESIS, hash_entry
from convergence.tenants.subscriptions import Subscription, parse_status

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BY = Actor("root", "admin", request_id="req_1", address="127.0.0.1")
ACT = AuditedAction("acme_corp", BY, "api_key.issue", "key_1")


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")


def shipped(store: StateStore) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    outbox.ship_rows(store, lambda _table, batch: rows.extend(row for _, row in batch))
    return rows


# --- audit --------------------------------------------------------------------------------------


def test_a_change_is_announced_and_its_result_told(store: StateStore) -> None:
    with audit_change(store, ACT, now=NOW, details={"plan": "SCALE"}), store.read() as conn:
        assert outbox.count_waiting_rows(conn) == 1
    attempt, result = shipped(store)
    assert attempt == {
        "org_slug": "acme_corp",
        "audit_id": attempt["audit_id"],
        "occurred_at": "2026-11-21T12:00:00.000000Z",
        "actor": "admin",
        "actor_type": "root",
        "action": "api_key.issue",
        "target": "key_1",
        "result": "ATTEMPTED",
        "request_id": "req_1",
        "address": "127.0.0.1",
        "details": '{"plan":"SCALE"}',
        "sequence": 1,
        "previous_hash": GENESIS,
        "entry_hash": hash_entry(attempt),
    }
    assert result["result"] == "SUCCEEDED"
    assert json.loads(result["details"]) == {"attempt": attempt["audit_id"]}


def test_a_change_that_fails_is_told_by_its_code_only(store: StateStore) -> None:
    def fail() -> None:
        with audit_change(store, ACT, now=NOW):
            raise WarehouseUnavailableError("sk-secret in a message")

    with pytest.raises(WarehouseUnavailableError):
        fail()
    _, result = shipped(store)
    assert result["result"] == "FAILED"
    assert json.loads(result["details"])["error"] == "warehouse_unavailable"
    assert "sk-secret" not in json.dumps(result)


def test_what_can_not_be_announced_is_not_done(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_args: object) -> str:
        raise StateUnavailableError("disk full")

    monkeypatch.setattr(outbox, "enqueue_row", down)
    done = []

    def change() -> None:
        with audit_change(store, ACT, now=NOW):
            done.append(1)

    with pytest.raises(StateUnavailableError):
        change()
    assert done == []


def test_an_audit_row_goes_with_its_transaction(store: StateStore) -> None:
    def fail() -> None:
        with store.begin() as conn:
            append_entry(conn, ACT, result=AuditResult.SUCCEEDED, now=NOW)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert shipped(store) == []


# --- plans and subscriptions --------------------------------------------------------------------


def test_every_plan_of_the_contract_allows_something_and_more_than_the_one_before() -> None:
    plans = quotas.load_plans()
    assert list(plans) == ["STARTER", "PROFESSIONAL", "SCALE"]
    limits = [tuple(plan.model_dump(exclude={"trial_days"}).values()) for plan in plans.values()]
    for smaller, larger in pairwise(limits):
        assert all(one <= other for one, other in zip(smaller, larger, strict=True))


def test_an_unknown_plan_is_told_with_the_known_ones() -> None:
    with pytest.raises(RequestError) as caught:
        quotas.get_plan("GOLD")
    assert caught.value.details["accepted"] == ["PROFESSIONAL", "SCALE", "STARTER"]


def test_a_wrong_plan_file_names_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system").mkdir()
    path = tmp_path / "system" / "plans.yml"
    path.write_text("plans:\n  STARTER:\n    runs_per_day: 0\n", encoding="utf-8")
    monkeypatch.setenv("CONVERGENCE_CONFIGS_DIR", str(tmp_path))
    get_settings.cache_clear()
    with pytest.raises(ConfigurationError) as caught:
        quotas.load_plans()
    faults = caught.value.details["errors"]
    assert isinstance(faults, list)
    assert faults[0].startswith(f"{path}:3:5: plans.STARTER.runs_per_day: ")
    assert len(faults) == 5


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("trialing", "TRIAL"),
        ("active", "ACTIVE"),
        ("past_due", "SUSPENDED"),
        ("paused", "SUSPENDED"),
        ("incomplete", "SUSPENDED"),
        ("canceled", "CANCELLED"),
        ("TRIAL", "TRIAL"),
        ("ACTIVE", "ACTIVE"),
        ("SUSPENDED", "SUSPENDED"),
        ("CANCELLED", "CANCELLED"),
    ],
)
def test_the_frontends_statuses_become_ours(told: str, status: str) -> None:
    assert parse_status(told) == status


def test_another_status_is_refused() -> None:
    with pytest.raises(RequestError):
        parse_status("Active")


@pytest.mark.parametrize(
    ("status", "ends", "allowed"),
    [
        ("ACTIVE", None, True),
        ("TRIAL", NOW + timedelta(seconds=1), True),
        ("TRIAL", NOW, False),
        ("TRIAL", None, False),
        ("SUSPENDED", None, False),
        ("CANCELLED", None, False),
    ],
)
def test_only_active_and_unexpired_trial_run(
    status: str, ends: datetime | None, *, allowed: bool
) -> None:
    held = Subscription("acme", "sub_acme", "STARTER", status, ends, None, None, NOW, NOW)
    assert held.allows_runs(NOW) is allowed


# --- datasets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "suffix"),
    [("production", "prod"), ("staging", "stage"), ("development", "dev")],
)
def test_datasets_are_named_by_org_and_environment(environment: str, suffix: str) -> None:
    settings = Settings.model_validate({"environment": environment})
    made = datasets.describe_org_dataset(settings, "acme_corp")
    assert made.name == f"acme_corp_{suffix}" == settings.org_dataset("acme_corp")
    assert made.location == "US"
    assert "acme_corp" in made.description
    assert datasets.describe_central_dataset(settings).name == "organizations"


def test_a_slug_that_is_none_names_no_dataset() -> None:
    with pytest.raises(RequestError):
        datasets.describe_org_dataset(Settings(), "acme`; DROP")


# --- what is masked -----------------------------------------------------------------------------


def test_an_opened_credential_is_masked_whole_and_in_parts() -> None:
    parts = {
        "client_email": "reader@acme.example",
        "private_key_id": "0123456789abcdef0123",
        "secret_access_key": "b" * 40,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    credentials._register_secrets(json.dumps(parts))
    credentials._register_secrets("a-plain-secret-value")
    text = redact(f"{parts['private_key_id']} {parts['secret_access_key']} a-plain-secret-value")
    assert not any(word in text for word in ("0123456789", "bbbb", "plain"))
    assert redact("https://oauth2.googleapis.com/token") == "https://oauth2.googleapis.com/token"


def test_a_fingerprint_tells_credentials_apart_and_says_nothing() -> None:
    first, second = (credentials.compute_fingerprint(f"sk-admin-{n}") for n in range(2))
    assert first != second
    assert len(first) == 16
    assert "admin" not in first
