"""Resolve the recipients of a message: addresses and Connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from convergence.processors.notify_systems.channels import ADMIN_EMAIL
from convergence.tenants import orgs
from convergence.warehouse.client import Warehouse


def resolved(to: Sequence[str], *, admin_email: str | None) -> tuple[str, ...]:
    """Return each recipient once, `admin_email` replaced by the address, or removed without one."""
    addresses = ((admin_email if one == ADMIN_EMAIL else one) for one in to)
    return tuple(dict.fromkeys(one for one in addresses if one))


def admin_emails(warehouse: Warehouse, slugs: Iterable[str]) -> Mapping[str, str]:
    """Return the administrator's address of each org, with one query."""
    names = set(slugs)
    if len(names) == 1:
        found = orgs.find_org(warehouse, next(iter(names)))
        return {found.org_slug: found.admin_email} if found is not None else {}
    every = orgs.list_orgs(warehouse) if names else []
    return {org.org_slug: org.admin_email for org in every if org.org_slug in names}
