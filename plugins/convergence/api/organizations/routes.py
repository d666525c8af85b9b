"""Routes that list, show and remove organizations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query

from convergence.api.http.dependencies import ActorDep, ServicesDep
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.http.services import ApiServices
from convergence.api.organizations.keys import build_key_info
from convergence.api.organizations.models import (
    ConnectedProvider,
    OrganizationDetail,
    OrganizationInfo,
    OrganizationList,
    RemovalResponse,
    SubscriptionInfo,
)
from convergence.errors import NotFoundError
from convergence.state.org_runs import RunStatus
from convergence.tenants import orgs, removal, subscriptions
from convergence.tenants.api_keys import keys
from convergence.tenants.orgs import Org
from convergence.tenants.removal import RemovedOrg

router = guarded_router(prefix="/organizations", tag="organizations")

MAX_PAGE = 500


@router.get(
    "",
    operation_id="list_organizations",
    summary="List organizations",
    response_model_exclude_none=True,
)
@require_scope(Scope.ADMIN)
def list_organizations(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Organizations per page.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=50, description="`next_cursor` of the previous page.")
    ] = None,
) -> OrganizationList:
    """Return all organizations by slug, including removed ones."""
    known = orgs.list_orgs(services.warehouse)
    rest = [org for org in known if cursor is None or org.org_slug > cursor]
    page = rest[:limit]
    return OrganizationList(
        organizations=[OrganizationInfo(**_read_info_fields(org)) for org in page],
        next_cursor=page[-1].org_slug if len(rest) > limit else None,
    )


@router.get(
    "/{org}",
    operation_id="get_organization",
    summary="Get an organization",
    response_model_exclude_none=True,
)
@require_scope(Scope.ADMIN)
def get_organization(services: ServicesDep, org: str) -> OrganizationDetail:
    """Return an organization with its subscription, its keys' fingerprints and its integrations."""
    profile = orgs.get_org(services.warehouse, org)
    return OrganizationDetail(
        **_read_info_fields(profile),
        subscription=_find_subscription(services, org),
        api_keys=[build_key_info(key) for key in keys.list_keys(services.warehouse, org)],
        integrations=[
            ConnectedProvider(
                provider=each.provider,
                validation_status=each.validation_status,
                connected_on=each.connected_on,
            )
            for each in services.credentials.list_credentials(org)
        ],
    )


@router.delete("/{org}", operation_id="remove_organization", summary="Remove an organization")
@require_scope(Scope.ADMIN)
def remove_organization(
    services: ServicesDep,
    actor: ActorDep,
    *,
    org: str,
    confirmation: Annotated[str, Query(max_length=50, description="The slug, as a confirmation.")],
    data: Annotated[
        Literal["delete", "keep"],
        Query(description="Whether its dataset is deleted now, or kept for export."),
    ],
) -> RemovalResponse:
    """Revoke its keys, delete its credentials, cancel its runs and subscription, permanently.

    `data` states whether its dataset is deleted or kept; a later removal can delete a kept one.
    Its records in the central tables stay. Its slug is never used for another organization.
    """
    if confirmation != org:
        message = "must be the organization's slug"
        raise InvalidFieldsError([build_field_error("query.confirmation", message)])
    removed = removal.remove_org(
        services.store,
        services.warehouse,
        org_slug=org,
        delete_data=data == "delete",
        by=actor,
        now=datetime.now(UTC),
    )
    for key_id in removed.keys_revoked:
        services.authenticator.forget_key(key_id)
    services.gate.forget_org(org)
    return RemovalResponse(
        org_slug=org,
        status="DELETED",
        data="deleted" if data == "delete" else "kept",
        dataset_id=removed.dataset_id,
        keys_revoked=len(removed.keys_revoked),
        credentials_deleted=removed.credentials_deleted,
        runs_cancelled=_cancel_runs(services, removed),
    )


def _cancel_runs(services: ApiServices, removed: RemovedOrg) -> int:
    return sum(
        services.records.finish_run(
            run_id, RunStatus.CANCELLED, now=datetime.now(UTC), error=removal.REMOVED
        )
        for run_id in removed.live_runs
    )


def _find_subscription(services: ApiServices, org: str) -> SubscriptionInfo | None:
    try:
        subscription = subscriptions.get_subscription(services.warehouse, org)
    except NotFoundError:
        return None
    fields = SubscriptionInfo.model_fields
    return SubscriptionInfo(**{name: getattr(subscription, name) for name in fields})


def _read_info_fields(org: Org) -> dict[str, object]:
    return {name: getattr(org, name) for name in OrganizationInfo.model_fields}
