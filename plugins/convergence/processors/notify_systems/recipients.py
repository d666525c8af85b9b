"""Whom a message goes to: addresses and Connections, with `admin_email` filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from convergence.processors.notify_systems.channels import ADMIN_EMAIL
from convergence.tenants import orgs
from convergence.warehouse.client import Warehouse


def resolved(to: Sequence[str], *, admin_email: str | None) -> tuple[str, ...]:
    """The recipients, each once; without an administrator's address there is none for it."""
    told = ((admin_email if one == ADMIN_EMAIL else one) for one in to)
    return tuple(dict.fromkeys(one for one in told if one))


def admin_emails(warehouse: Warehouse, slugs: Iterable[str]) -> Mapping[str, str]:
    """Each org's administrator, from one query however many there are."""
    wanted = set(slugs)
    if len(wanted) == 1:
        found = orgs.find_org(warehouse, next(iter(wanted)))
        return {found.org_slug: found.admin_email} if found is not None else {}
    every = orgs.list_orgs(warehouse) if wanted else []
    return {org.org_slug: org.admin_email for org in every if org.org_slug in wanted}
