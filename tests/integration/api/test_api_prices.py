"""Prices over HTTP: defaults, own rates from a day on, and their history, in real tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from support.api.calls import ACME, GLOBEX, onboard
from support.api.sandbox_services import ROOT
from support.processor_env import ProcessorEnv

PRICING = f"/integrations/{ACME}/openai/pricing"


@pytest.fixture
def acme(client: TestClient) -> dict[str, str]:
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    return onboard(client, ACME)


def rate(day: str, price: object, **more: object) -> dict[str, object]:
    return {"effective_from": day, "input_per_million": price, "output_per_million": "10", **more}


def own(body: Any) -> list[tuple[str, str | None, str]]:
    """(from, to, input) of the own rates."""
    return [
        (row["effective_from"], row["effective_to"], row["input_per_million"])
        for row in body["prices"]
        if row["is_override"]
    ]


def test_a_rate_ends_when_the_next_begins_and_its_history_is_kept(
    client: TestClient, acme: dict[str, str]
) -> None:
    first = client.put(f"{PRICING}/gpt-5", json=rate("2026-01-01", "1.25"), headers=acme)
    assert first.status_code == 200, first.text
    body = {"model_id": "gpt-5", **rate("2026-03-01", 0.1)}
    second = client.post(PRICING, json=body, headers=acme)
    assert second.status_code == 200, second.text
    assert own(second.json()) == [
        ("2026-03-01", None, "0.1"), ("2026-01-01", "2026-03-01", "1.25"),
    ]  # fmt: skip
    corrected = client.put(f"{PRICING}/gpt-5", json=rate("2026-03-01", "0.2"), headers=acme)
    assert [row[2] for row in own(corrected.json())] == ["0.2", "1.25"]
    then = client.get(PRICING, params={"date": "2026-02-28"}, headers=acme).json()
    assert [row[2] for row in own(then)] == ["1.25"]


def test_ending_and_resetting_leave_the_past_as_it_was(
    client: TestClient, acme: dict[str, str]
) -> None:
    for model in ("gpt-5", "ft:gpt-4o/x"):
        client.put(f"{PRICING}/{model}", json=rate("2026-01-01", "1"), headers=acme)
    query = {"effective_to": "2026-02-01"}
    ended = client.delete(f"{PRICING}/gpt-5", params=query, headers=acme)
    assert (ended.status_code, ended.json()["ended"]) == (200, 1)
    assert client.delete(f"{PRICING}/gpt-5", params=query, headers=acme).status_code == 404
    assert client.delete(f"{PRICING}/unknown", headers=acme).status_code == 404
    today = datetime.now(UTC).date().isoformat()
    reset = client.post(f"{PRICING}/reset", headers=acme).json()
    assert (reset["ended"], reset["effective_to"]) == (1, today)
    rows = client.get(PRICING, headers=acme).json()
    assert sorted(row[1] or "" for row in own(rows)) == ["2026-02-01", today]
    assert client.post(f"{PRICING}/reset", headers=acme).json()["ended"] == 0


SENSELESS: list[Any] = [
    {"effective_from": "2026-01-01"},
    rate("2026-01-01", "-1"),
    rate("2026-01-01", "NaN"),
    rate("2026-01-01", "0.0000000001"),
    rate("2026-01-01", "1e99"),
    rate("2026-01-01", True),
    rate("2026-01-01", ["1"]),
    rate("soon", "1"),
    rate("2026-01-01", "1", effective_to="2026-01-01"),
    rate("2026-01-01", "1", currency="usd"),
    rate("2026-01-01", "1", inputs_per_million="1"),
    rate("2026-01-01", "1", is_override=False),
]


def test_a_rate_that_makes_no_sense_is_not_stored(client: TestClient, acme: dict[str, str]) -> None:
    for body in SENSELESS:
        answer = client.put(f"{PRICING}/gpt-5", json=body, headers=acme)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), answer.text
        assert client.get(PRICING, headers=acme).json()["prices"] == []


def test_a_neighbours_prices_are_not_touched_and_others_have_none(
    client: TestClient, acme: dict[str, str], worker: ProcessorEnv
) -> None:
    globex = onboard(client, GLOBEX)
    client.put(f"{PRICING}/gpt-5", json=rate("2026-01-01", "1"), headers=acme)
    assert client.get(PRICING, headers=globex).status_code == 404
    other = f"/integrations/{GLOBEX}/openai/pricing"
    assert client.get(other, headers=globex).json()["prices"] == []
    for provider in ("gcp", "nobody"):
        answer = client.get(f"/integrations/{ACME}/{provider}/pricing", headers=acme)
        assert answer.status_code == 404
    del worker
