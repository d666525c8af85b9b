"""From a key to its org: what is accepted, what is remembered, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cachetools import TTLCache

from convergence.errors import NotAuthenticatedError, WarehouseUnavailableError
from convergence.security.keys import compute_digest, new_org_key
from convergence.tenants.api_keys import authentication
from convergence.tenants.api_keys.authentication import CACHE_SECONDS, Authenticator, Principal

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


class Keys:
    """Stands in for the table of keys and counts how often it is asked."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.asked = 0
        self.before_answer: Callable[[], None] = lambda: None

    def add(self, raw: str, *, org: str, not_after: datetime | None = None) -> None:
        self.rows[compute_digest(raw)] = {
            "org_slug": org,
            "key_id": f"key_{org}",
            "key_hash": compute_digest(raw),
            "scopes": ["pipelines:run"],
            "not_after": not_after,
        }

    def run(self, _w: object, _path: object, *, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.asked += 1
        self.before_answer()
        row = self.rows.get(params["key_hash"])
        return [row] if row else []


class FakeWarehouse:
    def sql(self, name: str) -> str:
        return name


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    stored = Keys()
    monkeypatch.setattr(authentication, "run_file", stored.run)
    return stored


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(
        authentication, "TTLCache", lambda size, ttl: TTLCache(size, ttl, timer=clock)
    )
    return clock


@pytest.fixture
def authenticator(keys: Keys, clock: Clock) -> Authenticator:
    assert keys is not None
    return Authenticator(FakeWarehouse(), now=clock.now)  # type: ignore[arg-type]


def refused(authenticator: Authenticator, raw: str) -> str:
    with pytest.raises(NotAuthenticatedError) as caught:
        authenticator.authenticate(raw)
    return str(caught.value)


def test_a_good_key_opens_its_org(authenticator: Authenticator, keys: Keys) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    expected = Principal("acme_corp", "key_acme_corp", frozenset({"pipelines:run"}))
    assert authenticator.authenticate(raw) == expected


def test_a_hundred_requests_ask_once(authenticator: Authenticator, keys: Keys) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    for _ in range(100):
        authenticator.authenticate(raw)
    for _ in range(100):
        refused(authenticator, "acme_corp_api_" + "0" * 16)
    assert keys.asked == 2


def test_a_revoked_key_is_dead_within_a_minute(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    authenticator.authenticate(raw)
    keys.rows.clear()
    authenticator.authenticate(raw)
    clock.seconds += CACHE_SECONDS
    assert CACHE_SECONDS <= 60
    refused(authenticator, raw)


def test_a_new_key_opens_within_a_minute_of_being_unknown(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    raw = new_org_key("acme_corp")
    refused(authenticator, raw)
    keys.add(raw, org="acme_corp")
    clock.seconds += CACHE_SECONDS
    authenticator.authenticate(raw)


def test_a_key_ends_at_its_end_though_it_is_remembered(
    authenticator: Authenticator, keys: Keys, clock: Clock
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp", not_after=NOW + timedelta(seconds=5))
    authenticator.authenticate(raw)
    clock.seconds = 5
    refused(authenticator, raw)


def test_a_key_whose_row_is_another_orgs_opens_nothing(
    authenticator: Authenticator, keys: Keys
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="globex")
    refused(authenticator, raw)


def test_a_row_that_holds_another_digest_opens_nothing(
    authenticator: Authenticator, keys: Keys
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    keys.rows[compute_digest(raw)]["key_hash"] = compute_digest(new_org_key("acme_corp"))
    refused(authenticator, raw)


def test_unknown_revoked_and_expired_keys_are_told_alike(
    authenticator: Authenticator, keys: Keys
) -> None:
    expired, foreign = new_org_key("acme_corp"), new_org_key("acme_corp")
    keys.add(expired, org="acme_corp", not_after=NOW)
    keys.add(foreign, org="globex")
    told = {refused(authenticator, raw) for raw in (new_org_key("acme_corp"), expired, foreign)}
    assert told == {"The API key is not valid"}


def test_a_malformed_key_is_never_looked_up(authenticator: Authenticator, keys: Keys) -> None:
    for raw in ("", "x", "acme_corp_api_", "acme_corp_api_short", "ü_api_" + "0" * 16):
        assert "malformed" in refused(authenticator, raw)
    assert keys.asked == 0


def test_a_flood_of_wrong_keys_does_not_push_out_a_good_one(
    authenticator: Authenticator, keys: Keys
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    authenticator.authenticate(raw)
    for number in range(10_050):
        refused(authenticator, f"acme_corp_api_{number:016}")
    asked = keys.asked
    authenticator.authenticate(raw)
    assert keys.asked == asked


def test_requests_at_once_wait_for_one_lookup(authenticator: Authenticator, keys: Keys) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    started = threading.Event()

    def slow() -> None:
        started.set()
        threading.Event().wait(0.1)

    keys.before_answer = slow
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(authenticator.authenticate, [raw] * 8))
    assert len(set(found)) == 1
    assert keys.asked == 1


def test_a_warehouse_that_is_down_is_not_remembered_as_an_unknown_key(
    authenticator: Authenticator, keys: Keys
) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")

    def down() -> None:
        raise WarehouseUnavailableError("down")

    keys.before_answer = down
    with pytest.raises(WarehouseUnavailableError):
        authenticator.authenticate(raw)
    keys.before_answer = lambda: None
    authenticator.authenticate(raw)


def test_a_forgotten_key_is_looked_up_again(authenticator: Authenticator, keys: Keys) -> None:
    raw = new_org_key("acme_corp")
    keys.add(raw, org="acme_corp")
    authenticator.authenticate(raw)
    keys.rows.clear()
    authenticator.forget_key("key_acme_corp")
    refused(authenticator, raw)
