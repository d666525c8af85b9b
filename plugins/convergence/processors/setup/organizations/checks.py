"""Checks before an organization is onboarded; all are made, even when some fail."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from convergence.errors import ConvergenceError, RequestError
from convergence.security.keys import check_slug

LONGEST_EMAIL = 254
LONGEST_COMPANY_NAME = 200
# One @, no space, a dot in the domain: what a form can know. Only a message proves an address.
_EMAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its outcome, and details."""

    check: str
    passed: bool
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """Return the check as the API returns it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRequest:
    """Request to onboard an organization."""

    org_slug: str
    company_name: str
    admin_email: str
    subscription_plan: str = "STARTER"

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Build a request from the params of a run."""
        return cls(**{name: params[name] for name in cls.__slots__ if name in params})


def request_checks(request: OrganizationRequest, *, plans: Collection[str]) -> list[Check]:
    """Make the checks that need only the request."""
    return [
        _slug(request.org_slug),
        _company(request.company_name),
        _email(request.admin_email),
        _plan(request.subscription_plan, plans=plans),
    ]


def found(check: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """Make a check that reads the warehouse; an error while reading fails the check."""
    try:
        passed, detail = look()
    except ConvergenceError as error:
        return Check(check, passed=False, detail=f"could not be checked: {error.message}")
    return Check(check, passed, detail)


def refuse_failed(checks: Collection[Check]) -> None:
    """Raise one error for all failed checks.

    Raises:
        RequestError: `errors` lists each failed check.
    """
    if failed := [f"{check.check}: {check.detail}" for check in checks if not check.passed]:
        raise RequestError("The organization can't be onboarded", errors=failed)


def is_slug(slug: str) -> bool:
    """Return whether a slug is valid."""
    return _slug(slug).passed


def _slug(slug: str) -> Check:
    try:
        check_slug(slug)
    except RequestError as error:
        return Check("slug_valid", passed=False, detail=error.message)
    return Check("slug_valid", passed=True, detail=slug)


def _company(name: str) -> Check:
    good = 0 < len(name.strip()) <= LONGEST_COMPANY_NAME and name.isprintable()
    violation = f"1 to {LONGEST_COMPANY_NAME} printable characters are needed"
    return Check("company_name_valid", passed=good, detail=name.strip() if good else violation)


def _email(address: str) -> Check:
    good = len(address) <= LONGEST_EMAIL and bool(_EMAIL.fullmatch(address))
    violation = "not an email address such as finance@example.com"
    return Check("email_valid", passed=good, detail=address if good else violation)


def _plan(plan: str, *, plans: Collection[str]) -> Check:
    good = plan in plans
    return Check(
        "plan_valid", passed=good, detail=plan if good else f"accepted: {', '.join(plans)}"
    )
