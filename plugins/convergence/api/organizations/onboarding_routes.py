"""Routes that onboard an organization: the dry run and the onboarding."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.operations import OperationKind
from convergence.api.http.dependencies import (
    ActorDep,
    IdempotentCallDep,
    ServicesDep,
    UrlBuilderDep,
)
from convergence.api.http.idempotency import PLATFORM, ApiResult
from convergence.api.http.problems import FieldError, InvalidFieldsError, build_field_error
from convergence.api.http.responses import (
    WAITING,
    UrlBuilder,
    build_operation_body,
    build_operation_result,
    respond,
)
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.http.services import ApiServices
from convergence.api.organizations.key_models import ApiKeyFingerprint
from convergence.api.organizations.keys import KEY_FIELDS, issue_org_key
from convergence.api.organizations.models import (
    DryRunResponse,
    OnboardResponse,
    OrganizationRequest,
)
from convergence.errors import ConflictError
from convergence.security.keys import SLUG
from convergence.tenants import orgs, quotas
from convergence.tenants.api_keys import keys
from convergence.tenants.audit import Actor

router = guarded_router(prefix="/organizations", tag="organizations")


@router.post(
    "/dryrun",
    operation_id="dry_run_onboarding",
    summary="Check whether an organization can be onboarded",
    response_model=DryRunResponse,
    responses={202: {"model": DryRunResponse, "description": WAITING}},
)
@require_scope(Scope.ADMIN)
async def dry_run_onboarding(
    services: ServicesDep,
    call: IdempotentCallDep,
    build_url: UrlBuilderDep,
    body: OrganizationRequest,
) -> JSONResponse:
    """Check slug, email, plan, the warehouse and its tables, without creating anything.

    The response lists all failed checks.
    """
    values = body.model_dump()
    async with call.claim_async({"call": "dryrun", "body": values}) as claim:
        if claim.is_new:
            state = await services.operations.run_operation(
                OperationKind.DRYRUN,
                about="platform",
                values=values,
                seconds=services.settings.admin_call_wait_seconds,
            )
            claim.complete(build_operation_result(state, build_url))
    return respond(claim.result)


@router.post(
    "/onboard",
    operation_id="onboard_organization",
    summary="Onboard an organization",
    response_model=OnboardResponse,
    responses={202: {"model": OnboardResponse, "description": WAITING}},
)
@require_scope(Scope.ADMIN)
async def onboard_organization(
    services: ServicesDep,
    actor: ActorDep,
    call: IdempotentCallDep,
    build_url: UrlBuilderDep,
    body: OrganizationRequest,
) -> JSONResponse:
    """Create the organization, its dataset and tables, and its first key.

    The key is returned only once. After a 202, issue a key once the operation has succeeded.
    """
    _check_organization(body)
    async with call.claim_async({"call": "onboard", "body": body.model_dump()}) as claim:
        if claim.is_new:
            name = f"onboard|{body.org_slug}"
            async with services.idempotency.exclusive(PLATFORM, name):
                claim.complete(await _onboard(services, body, by=actor, build_url=build_url))
    return respond(claim.result)


async def _onboard(
    services: ApiServices, body: OrganizationRequest, *, by: Actor, build_url: UrlBuilder
) -> ApiResult:
    await run_in_threadpool(_check_not_onboarded, services, body.org_slug)
    state = await services.operations.run_operation(
        OperationKind.ONBOARD,
        about=body.org_slug,
        values=body.model_dump(),
        seconds=services.settings.admin_call_wait_seconds,
    )
    document = {"org_slug": body.org_slug, **build_operation_body(state, build_url)}
    if not state.ended:
        return ApiResult(202, document)
    issued = await run_in_threadpool(issue_org_key, services, body.org_slug, by=by)
    fingerprint = ApiKeyFingerprint(key_id=issued.key_id, last_four=issued.last_four)
    document |= {"api_key": issued.secret, "api_key_fingerprint": fingerprint.model_dump()}
    return ApiResult(200, document, secrets=KEY_FIELDS)


def _check_organization(body: OrganizationRequest) -> None:
    errors: list[FieldError] = []
    if not SLUG.fullmatch(body.org_slug):
        message = "must be 3 to 50 lowercase letters, digits and _, without _ at either end"
        errors.append(build_field_error("body.org_slug", message))
    name, _, host = body.admin_email.rpartition("@")
    if not name or "." not in host.strip(".") or " " in body.admin_email:
        errors.append(build_field_error("body.admin_email", "must be an email address"))
    plans = sorted(quotas.load_plans())
    if body.subscription_plan not in plans:
        errors.append(
            build_field_error(
                "body.subscription_plan",
                "is not a plan",
                value=body.subscription_plan,
                accepted=plans,
            )
        )
    if errors:
        raise InvalidFieldsError(errors)


def _check_not_onboarded(services: ApiServices, org: str) -> None:
    """Reject an onboarded org. An org without a key was interrupted: its onboarding continues.

    The key service is checked first: an onboarding that cannot issue a key at its end must not
    begin.
    """
    services.kms.get_primary_version()
    found = orgs.find_org(services.warehouse, org)
    if found is not None and keys.list_keys(services.warehouse, org):
        raise ConflictError("The organization is already onboarded. Issue an additional key.")
