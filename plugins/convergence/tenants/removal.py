"""The end of an organization: what opens doors goes, its records stay, its data as stated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from convergence.errors import ConflictError
from convergence.run_error_codes import RunErrorCode
from convergence.state import org_runs, pipeline_configs
from convergence.state.leases import hold_lease
from convergence.state.org_runs import RunError
from convergence.state.store import StateStore
from convergence.tenants import orgs
from convergence.tenants.api_keys import key_digests, keys
from convergence.tenants.audit import Actor, AuditedAction, audit_change
from convergence.tenants.datasets import OWNER_LABEL
from convergence.tenants.encryption import kms_register
from convergence.tenants.encryption.kms_register import Subject
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import run_file
from convergence.warehouse.tables.datasets import dataset_labels, drop_dataset

REMOVED = RunError(RunErrorCode.ORGANIZATION_REMOVED, "the organization was removed")


@dataclass(frozen=True)
class RemovedOrg:
    """Objects that a removal ended."""

    dataset_id: str
    keys_revoked: tuple[str, ...]
    credentials_deleted: int
    live_runs: tuple[str, ...]


def remove_org(
    store: StateStore,
    warehouse: Warehouse,
    *,
    org_slug: str,
    delete_data: bool,
    by: Actor,
    now: datetime,
) -> RemovedOrg:
    """End an org in the warehouse; doing it again changes nothing, or deletes what was kept.

    Args:
        store: where the audit and the live runs are.
        warehouse: where the org's records and its dataset are.
        org_slug: the org.
        delete_data: whether to delete its dataset; otherwise it is kept for export.
        by: who removes it.
        now: the instant.

    Returns:
        What there was to end. Its live runs are the caller's to cancel.

    Raises:
        NotFoundError: there is no such org.
        ConflictError: the dataset of its name is another's.
        RequestInFlightError: its keys are being changed at this moment.
    """
    org = orgs.get_org(warehouse, org_slug)
    if delete_data:
        _check_owner(warehouse, org)
    act = AuditedAction(org_slug, by, "organization.remove", org_slug)
    details = {"data": "delete" if delete_data else "keep", "dataset_id": org.dataset_id}
    with (
        hold_lease(store, f"api_keys|{org_slug}"),
        audit_change(store, act, now=now, details=details) as change,
    ):
        known = keys.list_keys(warehouse, org_slug)
        params = {"org_slug": org_slug}
        found = run_file(warehouse, warehouse.sql("tenants/credentials_list.sql"), params=params)
        run_file(warehouse, warehouse.sql("tenants/org_remove.sql"), params={**params, "now": now})
        if delete_data:
            drop_dataset(warehouse, org.dataset_id)
        gone = keys.list_key_subjects(known) | {
            Subject(org_slug, "credential", row["credential_id"]): row["kms_key_version"]
            for row in found
        }
        change.add_write(partial(kms_register.retire_subjects, subjects=gone, now=now))
        change.add_write(partial(key_digests.remove_digests, org_slug=org_slug))
        change.add_write(
            partial(pipeline_configs.disable_configs, org_slug=org_slug, now=now, by=by.id)
        )
    with store.read() as conn:
        live = org_runs.list_for_org(conn, org_slug, limit=1000, statuses=org_runs.LIVE)
    return RemovedOrg(
        dataset_id=org.dataset_id,
        keys_revoked=tuple(key.key_id for key in known if key.status == "ACTIVE"),
        credentials_deleted=len(found),
        live_runs=tuple(run.run_id for run in live),
    )


def _check_owner(warehouse: Warehouse, org: orgs.Org) -> None:
    """Refuse a dataset of another environment or project with the same name."""
    labels = dataset_labels(warehouse, org.dataset_id)
    if labels is not None and labels.get(OWNER_LABEL) != org.org_slug:
        raise ConflictError("The dataset of this name is not labelled as the organization's.")
