"""A suspended organization over the whole route table: it reads as before and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.routing import GuardedRoute
from support.api.cases import CASES
from support.api.populated import PopulatedApi
from support.api.routes import ROUTES_BY_NAME, is_refusal
from support.api.sandbox_services import ROOT

pytestmark = pytest.mark.timeout(300)

# They end a run and remove a secret: SECURITY.md names both.
SERVED = {
    "POST /pipelines/runs/{org}/{run_id}/cancel",
    "DELETE /integrations/{org}/{provider}",
}
ROUTES = {name: ROUTES_BY_NAME[name] for name in CASES if ROUTES_BY_NAME[name].scope.for_orgs}
READING = {name: route for name, route in ROUTES.items() if name.startswith("GET ")}
WRITING = {name: route for name, route in ROUTES.items() if name not in READING}


def set_subscription(populated_api: PopulatedApi, status: str) -> None:
    path = f"/organizations/{populated_api.acme.slug}/subscription"
    response = populated_api.client.request("PUT", path, headers=ROOT, json={"status": status})
    assert response.status_code == 200, response.text


def call_route(populated_api: PopulatedApi, route: GuardedRoute) -> tuple[int, Any]:
    response = populated_api.ask(route, "own")
    return response.status_code, {**response.json(), "request_id": ""}


def test_a_suspended_org_reads_as_before_and_changes_nothing(populated_api: PopulatedApi) -> None:
    before = {name: call_route(populated_api, route) for name, route in READING.items()}
    assert {status for status, _ in before.values()} == {200}
    set_subscription(populated_api, "SUSPENDED")
    state = populated_api.read_everything()

    assert {name: call_route(populated_api, route) for name, route in READING.items()} == before

    responses = {
        name: populated_api.ask(route, "own")
        for name, route in WRITING.items()
        if name not in SERVED
    }
    assert [
        (name, response.status_code, response.text)
        for name, response in responses.items()
        if not is_refusal(response, 403, "subscription_inactive")
    ] == []
    assert populated_api.read_everything() == state
    for name in SERVED:
        assert populated_api.ask(WRITING[name], "own").status_code == 200, name

    # A neighbour is not concerned, and payment opens everything again.
    price = WRITING["PUT /integrations/{org}/{provider}/pricing/{model_id:path}"]
    assert populated_api.ask(price, "other", org=populated_api.globex.slug).status_code == 200
    set_subscription(populated_api, "ACTIVE")
    assert populated_api.ask(price, "own").status_code == 200


def test_the_table_has_every_kind_of_route() -> None:
    assert len(READING) >= 9
    assert len(WRITING) >= 16
    assert set(WRITING) > SERVED
