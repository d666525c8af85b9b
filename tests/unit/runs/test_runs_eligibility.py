"""Who may run, and the reason for everyone who may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from convergence.errors import (
    ConflictError,
    IntegrationInvalidError,
    NotFoundError,
    SubscriptionInactiveError,
)
from convergence.runs import eligibility
from convergence.runs.eligibility import (
    Eligibility,
    EligibilityChecker,
    find_denial,
    select_eligible,
)
from convergence.state.slots import RunLimits

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOOD = Eligibility(
    org_slug="acme_corp",
    org_status="ACTIVE",
    plan="STARTER",
    subscription_status="ACTIVE",
    credential_id="cred_1",
    validation_status="VALID",
    connected_on=date(2026, 11, 1),
    limits=RunLimits(1, 2, 3),
)


def code(standing: Eligibility, *, provider: str | None = "OPENAI") -> str | None:
    reason = find_denial(standing, provider=provider, now=NOW)
    return reason.code if reason else None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"org_status": "DELETED"}, "org_inactive"),
        ({"subscription_status": None}, "subscription_inactive"),
        ({"subscription_status": "SUSPENDED"}, "subscription_inactive"),
        ({"subscription_status": "CANCELLED"}, "subscription_inactive"),
        ({"subscription_status": "something new"}, "subscription_inactive"),
        ({"credential_id": None}, "integration_invalid"),
        ({"validation_status": "INVALID"}, "integration_invalid"),
        ({"validation_status": "PENDING"}, "integration_invalid"),
        ({"limits": None}, "quota_missing"),
    ],
)
def test_each_missing_condition_refuses_by_its_code(
    change: dict[str, Any], expected: str | None
) -> None:
    assert code(replace(GOOD, **change)) == expected


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (NOW + timedelta(seconds=1), None),
        (NOW, "subscription_inactive"),
        (None, "subscription_inactive"),
    ],
)
def test_a_trial_runs_until_it_ends(ends: datetime | None, expected: str | None) -> None:
    assert code(replace(GOOD, subscription_status="TRIAL", trial_ends_at=ends)) == expected


def test_a_pipeline_without_provider_needs_no_integration() -> None:
    assert code(replace(GOOD, credential_id=None), provider=None) is None


def test_a_fleet_is_sorted_into_who_runs_and_who_does_not() -> None:
    other = replace(GOOD, org_slug="globex", credential_id=None)
    chosen = select_eligible([GOOD, other], provider="OPENAI", now=NOW)
    assert chosen.eligible == (GOOD,)
    assert [(org, why.code) for org, why in chosen.denied] == [("globex", "integration_invalid")]


class Rows:
    """Stands in for the one query; `calls` are the params of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *standings: Eligibility) -> None:
        self.standings = list(standings)
        self.calls: list[dict[str, Any]] = []
        monkeypatch.setattr(eligibility, "run_file", self._run)

    def _run(self, _w: object, _path: object, *, params: dict[str, Any]) -> list[dict[str, Any]]:
        self.calls.append(params)
        return [
            {
                **{name: getattr(standing, name) for name in Eligibility.__dataclass_fields__},
                "runs_per_day": standing.limits and standing.limits.runs_per_day,
                "runs_per_month": standing.limits and standing.limits.runs_per_month,
                "concurrent_runs": standing.limits and standing.limits.concurrent_runs,
            }
            for standing in self.standings
            if params["every_org"] or standing.org_slug in params["org_slugs"]
        ]


class FakeWarehouse:
    def sql(self, name: str) -> str:
        return name


def make_gate(**changes: Any) -> EligibilityChecker:  # handed on as they are
    return EligibilityChecker(FakeWarehouse(), **changes)  # type: ignore[arg-type]


def test_a_permission_is_asked_for_once_and_forgotten_on_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = Rows(monkeypatch, GOOD)
    asked = make_gate()
    for _ in range(3):
        assert asked.require_eligible("acme_corp", provider="OPENAI", now=NOW) == GOOD
    assert len(rows.calls) == 1
    asked.forget_org("acme_corp")
    asked.require_eligible("acme_corp", provider="OPENAI", now=NOW)
    assert len(rows.calls) == 2


def test_a_trial_that_ends_while_remembered_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = NOW + timedelta(seconds=5)
    Rows(monkeypatch, replace(GOOD, subscription_status="TRIAL", trial_ends_at=ends))
    asked = make_gate()
    asked.require_eligible("acme_corp", provider="OPENAI", now=NOW)
    with pytest.raises(SubscriptionInactiveError):
        asked.require_eligible("acme_corp", provider="OPENAI", now=ends)


@pytest.mark.parametrize(
    ("standing", "error"),
    [
        (replace(GOOD, org_slug="globex"), NotFoundError),
        (replace(GOOD, subscription_status="SUSPENDED"), SubscriptionInactiveError),
        (replace(GOOD, credential_id=None), IntegrationInvalidError),
        (replace(GOOD, limits=None), ConflictError),
    ],
)
def test_requiring_raises_the_named_error(
    monkeypatch: pytest.MonkeyPatch, standing: Eligibility, error: type[Exception]
) -> None:
    Rows(monkeypatch, standing)
    with pytest.raises(error):
        make_gate().require_eligible("acme_corp", provider="OPENAI", now=NOW)


def test_one_query_serves_every_org(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows(monkeypatch, *(replace(GOOD, org_slug=f"org_{n}") for n in range(50)))
    assert len(make_gate().select_orgs(provider="OPENAI", now=NOW).eligible) == 50
    assert len(rows.calls) == 1


def test_a_provider_id_in_place_of_its_name_in_tables_is_a_defect() -> None:
    with pytest.raises(ValueError, match="OPENAI"):
        make_gate().select_orgs(provider="openai", now=NOW)
