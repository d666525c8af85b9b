"""Organizations as they stand, and their end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool

from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.responses import actor
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import Services, services_of
from convergence.api.organizations.key_routes import key_info
from convergence.api.organizations.models import (
    ConnectedProvider,
    OrganizationDetail,
    OrganizationInfo,
    OrganizationList,
    RemovalAnswer,
    SubscriptionInfo,
)
from convergence.errors import NotFoundError
from convergence.state.org_runs import RunStatus
from convergence.tenants import keys, orgs, removal, subscriptions
from convergence.tenants.orgs import Org

router = guarded_router(prefix="/organizations", tag="organizations")

PAGE_LIMIT = 500


@router.get("", summary="Every organization", response_model_exclude_none=True)
@needs(Scope.ADMIN)
async def organizations(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=PAGE_LIMIT, description="Organizations per page.")] = 100,
    cursor: Annotated[
        str | None, Query(max_length=50, description="`next_cursor` of the page before.")
    ] = None,
) -> OrganizationList:
    """Every organization by slug, removed ones too."""
    services = services_of(request)
    known = await run_in_threadpool(orgs.list_orgs, services.warehouse)
    rest = [org for org in known if cursor is None or org.org_slug > cursor]
    page = rest[:limit]
    return OrganizationList(
        organizations=[OrganizationInfo(**_facts(org)) for org in page],
        next_cursor=page[-1].org_slug if len(rest) > limit else None,
    )


@router.get("/{org}", summary="One organization", response_model_exclude_none=True)
@needs(Scope.ADMIN)
async def organization(request: Request, org: str) -> OrganizationDetail:
    """An organization with its subscription, its keys' fingerprints and its connections."""
    return await run_in_threadpool(_detail, services_of(request), org)


@router.delete("/{org}", summary="Remove an organization")
@needs(Scope.ADMIN)
async def remove(
    request: Request,
    *,
    org: str,
    confirmation: Annotated[str, Query(max_length=50, description="The slug, typed again.")],
    data: Annotated[
        Literal["delete", "keep"],
        Query(description="Whether its dataset is deleted now, or kept for export."),
    ],
) -> RemovalAnswer:
    """Revoke its keys, delete its credentials, cancel its runs and subscription, for good.

    Its dataset is deleted or kept, as stated by `data`; what was kept is deleted by asking again.
    Its records in the central tables stay. Its slug is not given to another.
    """
    if confirmation != org:
        raise InvalidFieldsError([fault("query.confirmation", "is not the organization's slug")])
    services = services_of(request)

    def end() -> RemovalAnswer:
        removed = removal.remove_org(
            services.store,
            services.warehouse,
            org_slug=org,
            delete_data=data == "delete",
            by=actor(request),
            now=datetime.now(UTC),
        )
        for key_id in removed.keys_revoked:
            services.authenticator.forget_key(key_id)
        services.gate.forget_org(org)
        cancelled = [
            services.records.finish_run(
                run_id, RunStatus.CANCELLED, now=datetime.now(UTC), error=removal.REMOVED
            )
            for run_id in removed.live_runs
        ]
        return RemovalAnswer(
            org_slug=org,
            status="DELETED",
            data="deleted" if data == "delete" else "kept",
            dataset_id=removed.dataset_id,
            keys_revoked=len(removed.keys_revoked),
            credentials_deleted=removed.credentials_deleted,
            runs_cancelled=sum(cancelled),
        )

    return await run_in_threadpool(end)


def _detail(services: Services, org: str) -> OrganizationDetail:
    profile = orgs.get_org(services.warehouse, org)
    try:
        held = subscriptions.get_subscription(services.warehouse, org)
    except NotFoundError:
        held = None
    fields = SubscriptionInfo.model_fields
    return OrganizationDetail(
        **_facts(profile),
        subscription=SubscriptionInfo(**{name: getattr(held, name) for name in fields})
        if held
        else None,
        api_keys=[key_info(key) for key in keys.list_keys(services.warehouse, org)],
        integrations=[
            ConnectedProvider(
                provider=one.provider,
                validation_status=one.validation_status,
                connected_on=one.connected_on,
            )
            for one in services.credentials.list_credentials(org)
        ],
    )


def _facts(org: Org) -> dict[str, object]:
    return {name: getattr(org, name) for name in OrganizationInfo.model_fields}
