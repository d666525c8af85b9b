"""Organizations: who they are and where their data lives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from convergence.errors import ConflictError, NotFoundError
from convergence.security.keys import check_slug
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file


@dataclass(frozen=True)
class Org:
    """One organization; `dataset_id` holds its data tables and no one else's."""

    org_slug: str
    company_name: str
    admin_email: str
    dataset_id: str
    status: str
    created_at: datetime


def create_profile(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    company_name: str,
    admin_email: str,
    dataset_id: str,
    by: Actor,
    now: datetime,
) -> Org:
    """Add an org's profile unless it has one; what is stored is given back.

    Raises:
        RequestError: the slug is none.
    """
    check_slug(org_slug)
    with audit_change(store, AuditedAction(org_slug, by, "organization.create", org_slug), now=now):
        run_file(
            warehouse,
            warehouse.sql("tenants/org_create.sql"),
            params={
                "org_slug": org_slug,
                "company_name": company_name,
                "admin_email": admin_email,
                "dataset_id": dataset_id,
                "now": now,
            },
        )
        return get_org(warehouse, org_slug)


def find_org(warehouse: Warehouse, org_slug: str) -> Org | None:
    """Return the org with this slug, or None."""
    rows = run_file(warehouse, warehouse.sql("tenants/org_get.sql"), params={"org_slug": org_slug})
    return _build_org(rows[0]) if rows else None


def get_org(warehouse: Warehouse, org_slug: str) -> Org:
    """Return the org with this slug.

    Raises:
        NotFoundError: there is none.
    """
    org = find_org(warehouse, org_slug)
    if org is None:
        raise NotFoundError("There is no such organization")
    return org


def get_active_org(warehouse: Warehouse, org_slug: str) -> Org:
    """Return the org with this slug if it is not removed.

    Raises:
        NotFoundError: there is none.
        ConflictError: it has been removed.
    """
    org = get_org(warehouse, org_slug)
    if org.status == "DELETED":
        raise ConflictError("The organization has been removed.", reason="deleted")
    return org


def list_orgs(warehouse: Warehouse) -> list[Org]:
    """List every org, by slug."""
    return [_build_org(row) for row in run_file(warehouse, warehouse.sql("tenants/orgs_list.sql"))]


def _build_org(row: Row) -> Org:
    return Org(**{name: row[name] for name in Org.__dataclass_fields__})
