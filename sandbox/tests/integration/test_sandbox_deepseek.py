"""The DeepSeek stand-in: balances as text, derived from account and moment alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from convergence_sandbox.providers import create_app
from convergence_sandbox.providers.deepseek.account import (
    Balance,
    balances,
    currencies,
    spent,
    topped_up,
)

DATA = Path(__file__).parents[3] / "tests" / "data" / "deepseek"
NOON = datetime(2026, 11, 17, 12, tzinfo=UTC)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(tmp_path)) as found:
        yield found


def get_balance(client: TestClient, *, seed: str = "acme") -> dict[str, Any]:
    headers = {"authorization": f"Bearer sk-deepseek-sandbox-{seed}"}
    response = client.get("/deepseek/user/balance", headers=headers)
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def set_clock(client: TestClient, now: datetime) -> None:
    payload = client.post("/_sandbox/clock", json={"now": now.isoformat()})
    assert payload.status_code == 204


def test_a_balance_has_the_shape_of_a_recorded_one(client: TestClient) -> None:
    known = json.loads((DATA / "user_balance.json").read_text())
    found = get_balance(client)
    assert set(found) == set(known)
    assert found["is_available"] is True
    for info in found["balance_infos"]:
        assert set(info) == set(known["balance_infos"][0])
        assert all(isinstance(value, str) for value in info.values())
        parts = Decimal(info["granted_balance"]) + Decimal(info["topped_up_balance"])
        assert Decimal(info["total_balance"]) == parts


def test_the_clock_can_be_set_and_freed_and_outlives_a_restart(
    client: TestClient, tmp_path: Path
) -> None:
    set_clock(client, NOON)
    first = get_balance(client)
    set_clock(client, NOON + timedelta(days=2))
    assert get_balance(client) != first
    set_clock(client, NOON)
    with TestClient(create_app(tmp_path)) as restarted:
        assert get_balance(restarted) == first
    assert client.delete("/_sandbox/clock").status_code == 204
    assert client.post("/_sandbox/clock", json={"now": "2026-11-17T12:00:00"}).status_code == 422
    assert client.post("/_sandbox/clock", json={}).status_code == 422


def test_some_accounts_hold_two_currencies() -> None:
    assert {len(currencies(seed)) for seed in ("acme", "globex", "initech", "hooli")} == {1, 2}


@settings(max_examples=30)
@given(
    seed=st.from_regex(r"[a-z0-9_]{3,20}", fullmatch=True),
    day=st.dates(date(2026, 1, 1), date(2028, 6, 30)),
)
def test_a_day_takes_what_was_spent_and_brings_what_was_paid_in(seed: str, day: date) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    before = {one.currency: one for one in balances(seed, midnight)}
    after = {one.currency: one for one in balances(seed, midnight + timedelta(days=1))}
    for currency, one in before.items():
        moved = topped_up(seed, currency, day) - spent(seed, currency, day)
        assert after[currency].total == one.total + moved
        assert after[currency].granted <= one.granted
        assert one.total > 0


def test_granted_money_is_spent_before_paid_money() -> None:
    before = Balance("USD", granted=300, topped_up=1_000)
    assert before.spend(200) == Balance("USD", granted=100, topped_up=1_000)
    assert before.spend(700) == Balance("USD", granted=0, topped_up=600)


def test_money_is_paid_in_when_it_runs_low(client: TestClient) -> None:
    days = [date(2026, 1, 1) + timedelta(days=count) for count in range(120)]
    paid = [topped_up("acme", "USD", day) for day in days]
    assert 2 <= sum(amount > 0 for amount in paid) <= 12


def test_only_known_keys_have_access(client: TestClient) -> None:
    for path in ("user/balance", "models"):
        response = client.get(f"/deepseek/{path}", headers={"authorization": "Bearer sk-nobody"})
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"
    headers = {"authorization": "Bearer sk-deepseek-sandbox-acme"}
    known = json.loads((DATA / "models.json").read_text())
    assert client.get("/deepseek/models", headers=headers).json() == known
    assert client.get("/deepseek/nothing", headers=headers).status_code == 404
