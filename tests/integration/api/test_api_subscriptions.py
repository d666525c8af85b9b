"""Plans over HTTP: seats and prices from a day on, with their history, in real tables."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.tenants.shipping import ship_outbox
from support.api.calls import ACME, GLOBEX, onboard
from support.api.sandbox_services import ROOT, SandboxServices

PLANS = f"/integrations/{ACME}/openai/subscriptions"
BUSINESS = f"{PLANS}/chatgpt_business"


@pytest.fixture
def acme(client: TestClient) -> dict[str, str]:
    assert client.post("/admin/bootstrap", json={}, headers=ROOT).status_code == 200
    return onboard(client, ACME)


def plan(day: str, seats: object, price: object = "25", **more: object) -> dict[str, object]:
    return {"effective_from": day, "seats": seats, "price_per_seat": price, **more}


def own(body: Any) -> list[tuple[str, str | None, int, str]]:
    """(from, to, seats, price) of the own plans."""
    return [
        (row["effective_from"], row["effective_to"], row["seats"], row["price_per_seat"])
        for row in body["subscriptions"]
        if row["is_override"]
    ]


def error_fields(answer: Any) -> list[str]:
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), answer.text
    return [fault["field"] for fault in answer.json()["errors"]]


def test_more_seats_from_a_day_on_end_what_was_before_and_keep_it(
    client: TestClient, acme: dict[str, str]
) -> None:
    first = client.put(BUSINESS, json=plan("2026-05-01", 10, 25), headers=acme)
    assert first.status_code == 200, first.text
    body = {"plan_name": "chatgpt_business", **plan("2026-06-15", 12, "24.50")}
    second = client.post(PLANS, json=body, headers=acme)
    assert own(second.json()) == [
        ("2026-06-15", None, 12, "24.5"), ("2026-05-01", "2026-06-15", 10, "25"),
    ]  # fmt: skip
    corrected = client.put(BUSINESS, json=plan("2026-06-15", 13), headers=acme)
    assert own(corrected.json())[0] == ("2026-06-15", None, 13, "25")
    then = client.get(PLANS, params={"date": "2026-06-14"}, headers=acme).json()
    assert own(then) == [("2026-05-01", "2026-06-15", 10, "25")]


def test_yearly_seats_stand_beside_monthly_ones(client: TestClient, acme: dict[str, str]) -> None:
    client.put(BUSINESS, json=plan("2026-05-01", 10), headers=acme)
    yearly = plan("2026-06-01", 5, "240", billing_period="annual")
    both = client.put(BUSINESS, json=yearly, headers=acme).json()
    assert own(both) == [("2026-06-01", None, 5, "240"), ("2026-05-01", None, 10, "25")]
    ended = client.delete(BUSINESS, params={"effective_to": "2026-07-01"}, headers=acme)
    assert ended.json()["ended"] == 2
    assert client.delete(BUSINESS, headers=acme).status_code == 404


def test_resetting_ends_every_own_plan_and_keeps_the_past(
    client: TestClient, acme: dict[str, str]
) -> None:
    client.put(BUSINESS, json=plan("2026-05-01", 10), headers=acme)
    client.put(f"{PLANS}/chatgpt_pro", json=plan("2026-05-01", 1, "200"), headers=acme)
    reset = client.post(f"{PLANS}/reset", json={}, headers=acme).json()
    assert reset["ended"] == 2
    rows = own(client.get(PLANS, headers=acme).json())
    assert [row[1] for row in rows] == [reset["effective_to"]] * 2


SENSELESS: list[Any] = [
    (plan("2026-05-01", -1), "body.seats"),
    (plan("2026-05-01", 1.5), "body.seats"),
    (plan("2026-05-01", "3"), "body.seats"),
    (plan("2026-05-01", True), "body.seats"),
    (plan("2026-05-01", 10**7), "body.seats"),
    (plan("2026-05-01", 1, "-25"), "body.price_per_seat"),
    (plan("2026-05-01", 1, "Infinity"), "body.price_per_seat"),
    (plan("2026-05-01", 1, "0.0000000001"), "body.price_per_seat"),
    (plan("2026-05-01", 1, None), "body.price_per_seat"),
    (plan("2026-05-01", 1, billing_period="weekly"), "body.billing_period"),
    (plan("2026-05-01", 1, currency="euro"), "body.currency"),
    (plan("2026-13-01", 1), "body.effective_from"),
    (plan("2026-05-01", 1, effective_to="2026-05-01"), "body.effective_to"),
    (plan("2026-05-01", 1, effective_to="2026-04-01"), "body.effective_to"),
    (plan("2026-05-01", 1, is_override=False), "body.is_override"),
    ({"effective_from": "2026-05-01", "price_per_seat": 1}, "body.seats"),
]


def test_a_plan_that_makes_no_sense_is_refused_by_its_field(
    client: TestClient, acme: dict[str, str]
) -> None:
    for body, field in SENSELESS:
        assert error_fields(client.put(BUSINESS, json=body, headers=acme)) == [field]
        assert client.get(PLANS, headers=acme).json()["subscriptions"] == []


def test_a_plan_that_overlaps_a_later_one_is_refused(
    client: TestClient, acme: dict[str, str]
) -> None:
    client.put(BUSINESS, json=plan("2026-06-01", 12), headers=acme)
    for ends in ({}, {"effective_to": "2026-06-02"}):
        answer = client.put(BUSINESS, json=plan("2026-05-01", 10, **ends), headers=acme)
        assert error_fields(answer) == ["body.effective_to"]
        assert "2026-06-01" in answer.text
    fits = client.put(
        BUSINESS, json=plan("2026-05-01", 10, effective_to="2026-06-01"), headers=acme
    )
    assert len(own(fits.json())) == 2


WITHOUT_PLANS = ["anthropic", "claude", "deepseek"]


def test_a_provider_without_plans_has_an_empty_list(
    client: TestClient, acme: dict[str, str]
) -> None:
    for provider in WITHOUT_PLANS:
        path = f"/integrations/{ACME}/{provider}/subscriptions"
        answer = client.get(path, headers=acme)
        assert (answer.status_code, answer.json()["subscriptions"]) == (200, [])
        assert client.post(f"{path}/reset", json={}, headers=acme).json()["ended"] == 0
        assert (
            client.put(f"{path}/team", json=plan("2026-05-01", 1), headers=acme).status_code == 404
        )
        assert client.delete(f"{path}/team", headers=acme).status_code == 404


def test_a_neighbours_plans_are_not_touched_and_clouds_have_none(
    client: TestClient, acme: dict[str, str]
) -> None:
    globex = onboard(client, GLOBEX)
    client.put(BUSINESS, json=plan("2026-05-01", 10), headers=acme)
    for method, path in (("GET", PLANS), ("DELETE", BUSINESS), ("POST", f"{PLANS}/reset")):
        assert client.request(method, path, headers=globex).status_code == 404
    other = f"/integrations/{GLOBEX}/openai/subscriptions"
    assert client.get(other, headers=globex).json()["subscriptions"] == []
    for provider in ("gcp", "nobody"):
        path = f"/integrations/{ACME}/{provider}/subscriptions"
        assert client.get(path, headers=acme).status_code == 404


NO_NAMES = ["%0a", "x" * 201, "%20"]


def test_a_name_is_one_line_of_text(client: TestClient, acme: dict[str, str]) -> None:
    for name in NO_NAMES:
        for kind, body in (
            ("subscriptions", plan("2026-05-01", 1)),
            ("pricing", rate("2026-05-01")),
        ):
            path = f"/integrations/{ACME}/openai/{kind}/{name}"
            assert client.put(path, json=body, headers=acme).status_code == 422
            assert client.delete(path, headers=acme).status_code == 422


def test_own_rates_that_overlap_are_refused_too(client: TestClient, acme: dict[str, str]) -> None:
    path = f"/integrations/{ACME}/openai/pricing/gpt-5"
    assert client.put(path, json=rate("2026-03-01"), headers=acme).status_code == 200
    answer = client.put(path, json=rate("2026-01-01"), headers=acme)
    assert error_fields(answer) == ["body.effective_to"]
    batch = client.put(path, json=rate("2026-01-01", service_tier="batch"), headers=acme)
    assert batch.status_code == 200, "another tier is another price"


def test_a_price_per_unit_comes_with_its_unit(client: TestClient, acme: dict[str, str]) -> None:
    path = f"/integrations/{ACME}/openai/pricing/web_search"
    for wrong in ({"unit_price": 1}, {"unit": "call"}, {"unit_price": 1, "unit": ["call"]}):
        body = {"effective_from": "2026-05-01", **wrong}
        assert error_fields(client.put(path, json=body, headers=acme)) == ["body.unit"]
    body = {"effective_from": "2026-05-01", "unit_price": "0.01", "unit": "call"}
    assert client.put(path, json=body, headers=acme).status_code == 200


def test_a_change_is_audited(
    client: TestClient, acme: dict[str, str], services: SandboxServices
) -> None:
    client.put(BUSINESS, json=plan("2026-05-01", 10), headers=acme)
    client.delete(BUSINESS, headers=acme)
    while ship_outbox(services.store, services.warehouse):
        pass
    rows = services.warehouse.client.query_and_wait(
        "SELECT action, target FROM organizations.org_audit_logs WHERE result = 'SUCCEEDED' "
        "AND org_slug = 'acme_corp' AND occurred_at > TIMESTAMP '2000-01-01'"
    )
    told = {(row["action"], row["target"]) for row in rows}
    assert {
        ("subscription.put", "openai/chatgpt_business"),
        ("subscription.end", "openai/chatgpt_business"),
    } <= told


def rate(day: str, **more: object) -> dict[str, object]:
    return {"effective_from": day, "input_per_million": "1", **more}
