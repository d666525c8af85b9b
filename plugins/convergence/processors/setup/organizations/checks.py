"""What must hold before an organization is taken in; every check is made, whatever others say."""

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
    """One check: what, whether it holds, and what was found."""

    check: str
    passed: bool
    detail: str

    def answer(self) -> dict[str, Any]:
        """As the API shows it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRequest:
    """Who is to be taken in."""

    org_slug: str
    company_name: str
    admin_email: str
    subscription_plan: str = "STARTER"

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """From a run's params."""
        return cls(**{name: params[name] for name in cls.__slots__ if name in params})


def request_checks(request: OrganizationRequest, *, plans: Collection[str]) -> list[Check]:
    """The checks that need nothing but the request."""
    return [
        _slug(request.org_slug),
        _company(request.company_name),
        _email(request.admin_email),
        _plan(request.subscription_plan, plans=plans),
    ]


def found(check: str, look: Callable[[], tuple[bool, str]]) -> Check:
    """A check that looks somewhere; what prevents it from looking is its failure."""
    try:
        passed, detail = look()
    except ConvergenceError as error:
        return Check(check, passed=False, detail=f"could not be checked: {error.message}")
    return Check(check, passed, detail)


def refuse_failed(checks: Collection[Check]) -> None:
    """Raise what speaks against the request, all of it.

    Raises:
        RequestError: `faults` lists each failed check.
    """
    if failed := [f"{check.check}: {check.detail}" for check in checks if not check.passed]:
        raise RequestError("The organization can't be taken in", errors=failed)


def is_slug(slug: str) -> bool:
    """Whether it can be an org's."""
    return _slug(slug).passed


def _slug(slug: str) -> Check:
    try:
        check_slug(slug)
    except RequestError as error:
        return Check("slug_valid", passed=False, detail=error.message)
    return Check("slug_valid", passed=True, detail=slug)


def _company(name: str) -> Check:
    good = 0 < len(name.strip()) <= LONGEST_COMPANY_NAME and name.isprintable()
    wanted = f"1 to {LONGEST_COMPANY_NAME} printable characters are needed"
    return Check("company_name_valid", passed=good, detail=name.strip() if good else wanted)


def _email(address: str) -> Check:
    good = len(address) <= LONGEST_EMAIL and bool(_EMAIL.fullmatch(address))
    wanted = "not an email address such as finance@example.com"
    return Check("email_valid", passed=good, detail=address if good else wanted)


def _plan(plan: str, *, plans: Collection[str]) -> Check:
    good = plan in plans
    return Check(
        "plan_valid", passed=good, detail=plan if good else f"accepted: {', '.join(plans)}"
    )
