"""A foreign and a missing object cost the same work, so that timing does not distinguish them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from sqlalchemy import Engine, event

from convergence.api.http.scopes import Scope
from support.api.cases import CASES, MISSING
from support.api.populated import PopulatedApi
from support.api.routes import ROUTES, name_route

ROUTES_BY_NAME = {name_route(route): route for route in ROUTES}
IN_AN_ORG = [one for one in CASES if "{org}" in one and ROUTES_BY_NAME[one].scope.for_orgs]
WITH_A_RUN = [one for one in IN_AN_ORG if "{run_id}" in one]
WITH_A_KEY = [one for one in CASES if "{key_id}" in one]
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|job[\w-]+")


@contextmanager
def work_of(done: list[str]) -> Iterator[None]:
    """Take down every statement to the state store and every call to the warehouse."""

    def statement(_conn: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        done.append(sql)

    send = requests.Session.send

    def counted(self: requests.Session, request: Any, **options: Any) -> Any:
        done.append(f"{request.method} {_IDS.sub('*', request.path_url)}")
        return send(self, request, **options)

    event.listen(Engine, "before_cursor_execute", statement)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.Session, "send", counted)
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", statement)


def work(populated_api: PopulatedApi, route_name: str, **changes: str) -> list[str]:
    """What a refused request costs, the second time: the first of its kind is written down."""
    route = ROUTES_BY_NAME[route_name]
    done: list[str] = []
    key = "root" if route.scope is Scope.ADMIN else "own"
    for _ in range(2):
        done.clear()
        with work_of(done):
            answer = populated_api.ask(route, key, **changes)
        assert answer.status_code == 404, answer.text
    return done


@pytest.mark.parametrize("route_name", IN_AN_ORG)
def test_a_foreign_organization_costs_what_a_missing_one_costs(
    populated_api: PopulatedApi, route_name: str
) -> None:
    foreign = work(populated_api, route_name, org=populated_api.globex.slug)
    assert foreign == work(populated_api, route_name, org=MISSING["org"])
    assert foreign == []  # refused before anything is asked


@pytest.mark.parametrize("route_name", WITH_A_RUN)
def test_a_foreign_run_costs_what_a_missing_one_costs(
    populated_api: PopulatedApi, route_name: str
) -> None:
    foreign = work(populated_api, route_name, run_id=populated_api.globex.run_id)
    assert foreign == work(populated_api, route_name, run_id=MISSING["run_id"])
    assert foreign


@pytest.mark.parametrize("route_name", WITH_A_KEY)
def test_a_foreign_key_costs_what_a_missing_one_costs(
    populated_api: PopulatedApi, route_name: str
) -> None:
    foreign = work(populated_api, route_name, key_id=populated_api.globex.key_id)
    assert foreign == work(populated_api, route_name, key_id=MISSING["key_id"])
    assert foreign
