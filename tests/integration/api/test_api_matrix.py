"""Every route, with every kind of key, on own, foreign and missing objects.

The cells are made of the app's routes and of `cases`. Refused cells change nothing; what each
permitted cell is answered is said by hand.
"""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.routing import GuardedRoute
from convergence.api.http.scopes import Scope
from integration.api.cases import CASES, MISSING, Case
from integration.api.town import Town, settled
from sandbox_process import SandboxProcess
from unit.api.test_api_access import ROUTES, name

pytestmark = pytest.mark.timeout(300)

BY_NAME = {name(route): route for route in ROUTES}
KEYS = ("none", "root", "admin", "own", "other", "expired", "revoked", "malformed", "both")
WRONG = ("none", "expired", "revoked", "malformed")
ROOTS = ("root", "admin")


def objects(route: GuardedRoute, case: Case, town: Town) -> dict[str, dict[str, str]]:
    """What stands in the path instead of acme's own, by how it is another's or missing."""
    found = {f"missing {one}": {one: MISSING[one]} for one in case.ids}
    found |= {
        f"foreign {one}": {one: getattr(town.globex, one)}
        for one in case.ids
        if one in {"run_id", "key_id"}
    }
    if "{org}" in route.path:
        found |= {"foreign org": {"org": town.globex.slug}, "missing org": {"org": MISSING["org"]}}
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
    assert set(CASES) == set(BY_NAME)


def test_every_refused_cell_is_refused_alike_and_changes_nothing(town: Town) -> None:
    before, wrong, cells = portrait(town), [], 0
    for route in (BY_NAME[one] for one in CASES):
        kinds = {"own": {}, **objects(route, CASES[name(route)], town)}
        for key in KEYS:
            for kind, changes in kinds.items():
                if (refusal := expected(route, key, kind)) is None:
                    continue
                cells += 1
                answer = town.ask(route, key, **changes)
                if not is_refusal(answer, *refusal) or leaks(answer, town):
                    wrong.append((name(route), key, kind, answer.status_code, answer.text))
    assert wrong == []
    assert cells > 800
    assert portrait(town) == before


def test_every_permitted_cell_is_answered_as_its_case_says(
    sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wrong = []
    # Each case finds what those before it have left: one platform and one test for all of them.
    with settled(sandbox, tmp_path_factory.mktemp("permitted")) as town:
        for route_name, case in CASES.items():
            route = BY_NAME[route_name]
            answers = [town.ask(route, key) for key in permitted_keys(route)]
            statuses = tuple(answer.status_code for answer in answers)
            named = route.scope is not Scope.ADMIN and any(
                town.globex.slug in answer.text for answer in answers
            )
            if statuses != case.own or named:
                wrong.append((route_name, statuses, case.own, [answer.text for answer in answers]))
    assert wrong == []


def permitted_keys(route: GuardedRoute) -> tuple[str, str]:
    if route.scope is Scope.PUBLIC:
        return ("none", "both")
    ends_a_key = "{key_id}" in route.path or name(route).startswith("DELETE /organizations")
    return ROOTS if route.scope is Scope.ADMIN or ends_a_key else ("own", "own")


def is_refusal(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    return bool(
        answer.status_code == body["status"] == status
        and body["code"] == code
        and answer.headers["content-type"] == "application/problem+json"
        and body["request_id"] == answer.headers["X-Request-ID"]
    )


def leaks(answer: Any, town: Town) -> bool:
    one = town.globex
    return any(told in answer.text for told in (one.slug, one.company, one.key, one.run_id))


def portrait(town: Town) -> dict[str, Any]:
    """Everything that both residents and the platform can read."""
    seen: dict[str, Any] = {}
    for route in (BY_NAME[one] for one in CASES if one.startswith("GET ")):
        if route.scope is Scope.PUBLIC:
            continue
        for one, key in ((town.acme, "own"), (town.globex, "other")):
            who = "root" if route.scope is Scope.ADMIN else key
            answer = town.ask(route, who, org=one.slug, run_id=one.run_id)
            seen[f"{name(route)} {one.slug}"] = {**answer.json(), "request_id": ""}
    return seen
