"""Every route, with every kind of key, on own, foreign and missing objects.

The cells are made of the app's routes and of `cases`. Refused cells change nothing; what each
permitted cell is answered is said by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.routing import GuardedRoute
from convergence.api.http.scopes import Scope
from support.api.cases import CASES, MISSING, Case
from support.api.populated import PopulatedApi, populate_api
from support.api.routes import ROUTES_BY_NAME, is_refusal, name_route
from support.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(300)

KEYS = ("none", "root", "admin", "own", "other", "expired", "revoked", "malformed", "both")
WRONG = ("none", "expired", "revoked", "malformed")
ROOTS = ("root", "admin")


def objects(
    route: GuardedRoute, case: Case, populated_api: PopulatedApi
) -> dict[str, dict[str, str]]:
    """What stands in the path instead of acme's own, by how it is another's or missing."""
    found = {f"missing {one}": {one: MISSING[one]} for one in case.ids}
    found |= {
        f"foreign {one}": {one: getattr(populated_api.globex, one)}
        for one in case.ids
        if one in {"run_id", "key_id"}
    }
    if "{org}" in route.path:
        found |= {
            "foreign org": {"org": populated_api.globex.slug},
            "missing org": {"org": MISSING["org"]},
        }
    return found


def expected(route: GuardedRoute, key: str, kind: str) -> tuple[int, str] | None:
    """Status and code of a cell that is refused; None where it is the case's own to say."""
    by_key = {"both": (400, "bad_request"), **dict.fromkeys(WRONG, (401, "not_authenticated"))}
    if route.scope is Scope.PUBLIC:
        return None
    if key in by_key:
        return by_key[key]
    if (key in ROOTS) is not (route.scope is Scope.ADMIN):
        return 403, "forbidden"
    # To the platform every organization is its own; to a neighbour acme is the foreign one.
    own = {"own", "foreign org"} if key in ROOTS else {"own"}
    if key == "other" and "{org}" in route.path:
        own = {"foreign org"}
    return None if kind in own else (404, "not_found")


def test_every_route_has_a_case() -> None:
    assert set(CASES) == set(ROUTES_BY_NAME)


def test_every_refused_cell_is_refused_alike_and_changes_nothing(
    populated_api: PopulatedApi,
) -> None:
    before, wrong, cells = populated_api.read_everything(), [], 0
    for route in (ROUTES_BY_NAME[one] for one in CASES):
        kinds = {"own": {}, **objects(route, CASES[name_route(route)], populated_api)}
        for key in KEYS:
            for kind, changes in kinds.items():
                if (refusal := expected(route, key, kind)) is None:
                    continue
                cells += 1
                answer = populated_api.ask(route, key, **changes)
                if not is_refusal(answer, *refusal) or leaks(answer, populated_api):
                    wrong.append((name_route(route), key, kind, answer.status_code, answer.text))
    assert wrong == []
    assert cells > 800
    assert populated_api.read_everything() == before


def test_every_permitted_cell_is_answered_as_its_case_says(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wrong = []
    # Each case finds what those before it have left: one platform and one test for all of them.
    with populate_api(sandbox, tmp_path_factory.mktemp("permitted")) as populated_api:
        for route_name, case in CASES.items():
            route = ROUTES_BY_NAME[route_name]
            answers = [populated_api.ask(route, key) for key in permitted_keys(route)]
            statuses = tuple(answer.status_code for answer in answers)
            named = route.scope is not Scope.ADMIN and any(
                populated_api.globex.slug in answer.text for answer in answers
            )
            if statuses != case.own or named:
                wrong.append((route_name, statuses, case.own, [answer.text for answer in answers]))
    assert wrong == []


def permitted_keys(route: GuardedRoute) -> tuple[str, str]:
    if route.scope is Scope.PUBLIC:
        return ("none", "both")
    ends_a_key = "{key_id}" in route.path or name_route(route).startswith("DELETE /organizations")
    return ROOTS if route.scope is Scope.ADMIN or ends_a_key else ("own", "own")


def leaks(answer: Any, populated_api: PopulatedApi) -> bool:
    one = populated_api.globex
    return any(told in answer.text for told in (one.slug, one.company, one.key, one.run_id))
