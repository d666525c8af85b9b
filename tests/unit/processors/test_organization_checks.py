from __future__ import annotations

from typing import Any

import pytest

from convergence.errors import ForbiddenError, RequestError, WarehouseUnavailableError
from convergence.processors.setup.initial.onetime_bootstrap import may_drop
from convergence.processors.setup.organizations.checks import (
    OrganizationRequest,
    found,
    refuse_failed,
    request_checks,
)
from convergence.settings import Environment

PLANS = ("STARTER", "PROFESSIONAL", "SCALE")
GOOD: dict[str, Any] = {
    "org_slug": "acme_corp",
    "company_name": "Acme Corporation",
    "admin_email": "cfo@acme.example",
    "subscription_plan": "SCALE",
}


def failed(**changed: Any) -> list[str]:
    request = OrganizationRequest.read(GOOD | changed)
    return [check.check for check in request_checks(request, plans=PLANS) if not check.passed]


def test_a_sound_request_passes_every_check() -> None:
    assert failed() == []


def test_the_plan_is_starter_unless_said() -> None:
    values = {name: value for name, value in GOOD.items() if name != "subscription_plan"}
    assert OrganizationRequest.read(values).subscription_plan == "STARTER"


@pytest.mark.parametrize(
    ("field", "value", "check"),
    [
        ("org_slug", "ab", "slug_valid"),
        ("org_slug", "Acme", "slug_valid"),
        ("org_slug", "acme\n", "slug_valid"),
        ("org_slug", "a" * 51, "slug_valid"),
        ("company_name", "  ", "company_name_valid"),
        ("company_name", "a\nb", "company_name_valid"),
        ("company_name", "x" * 201, "company_name_valid"),
        ("admin_email", "cfo", "email_valid"),
        ("admin_email", "cfo@acme", "email_valid"),
        ("admin_email", "a b@acme.example", "email_valid"),
        ("admin_email", "cfo@acme.example\n", "email_valid"),
        ("admin_email", "a@" + "b" * 260 + ".example", "email_valid"),
        ("subscription_plan", "starter", "plan_valid"),
        ("subscription_plan", "", "plan_valid"),
    ],
)
def test_each_fault_fails_its_own_check(field: str, value: str, check: str) -> None:
    assert failed(**{field: value}) == [check]


def test_every_fault_is_told_at_once() -> None:
    wrong = OrganizationRequest(
        org_slug="-", company_name="", admin_email="x", subscription_plan="GOLD"
    )
    with pytest.raises(RequestError) as caught:
        refuse_failed(request_checks(wrong, plans=PLANS))
    faults = caught.value.details["errors"]
    assert isinstance(faults, list)
    assert [fault.partition(":")[0] for fault in faults] == [
        "slug_valid",
        "company_name_valid",
        "email_valid",
        "plan_valid",
    ]
    assert "accepted: STARTER, PROFESSIONAL, SCALE" in faults[-1]


def test_what_can_not_be_looked_at_has_failed() -> None:
    def look() -> tuple[bool, str]:
        raise WarehouseUnavailableError("BigQuery is temporarily unavailable")

    check = found("org_is_new", look)
    assert not check.passed
    assert check.detail == "could not be checked: BigQuery is temporarily unavailable"


def test_an_unforeseen_error_is_no_failed_check() -> None:
    def look() -> tuple[bool, str]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        found("org_is_new", look)


ASKED = {"force_recreate_dataset": True, "confirmation": "organizations"}


def test_the_central_dataset_is_dropped_only_when_asked_and_confirmed() -> None:
    def dropped(params: dict[str, Any]) -> bool:
        return may_drop(params, environment=Environment.DEVELOPMENT, dataset="organizations")

    assert dropped(ASKED)
    assert not dropped({})
    assert not dropped({"confirmation": "organizations"})
    for wrong in ("", "Organizations", "yes", None):
        with pytest.raises(RequestError):
            dropped(ASKED | {"confirmation": wrong})


def test_production_never_drops_it() -> None:
    with pytest.raises(ForbiddenError):
        may_drop(ASKED, environment=Environment.PRODUCTION, dataset="organizations")
