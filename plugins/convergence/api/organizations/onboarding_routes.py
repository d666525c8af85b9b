"""Organizations: trying one out, onboarding it, its keys and its subscription."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.airflow.operations import Operation
from convergence.api.http.idempotency import PLATFORM, Answer
from convergence.api.http.models import (
    ApiKeyAnswer,
    ApiKeyFingerprint,
    ApiKeyRequest,
    DryRunAnswer,
    OnboardAnswer,
    OrganizationRequest,
    SubscriptionAnswer,
    SubscriptionRequest,
)
from convergence.api.http.problems import FieldFault, InvalidFieldsError, fault
from convergence.api.http.responses import WAITING, actor, idempotency_key, operation_body, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs, org_scopes
from convergence.api.http.services import Services, services_of
from convergence.errors import ConflictError
from convergence.security.keys import SLUG
from convergence.tenants import keys, orgs, quotas, subscriptions
from convergence.tenants.audit import Actor
from convergence.tenants.keys import IssuedKey

router = guarded_router(prefix="/organizations", tag="organizations")


@router.post(
    "/dryrun",
    summary="Could this organization be onboarded?",
    response_model=DryRunAnswer,
    responses={202: {"model": DryRunAnswer, "description": WAITING}},
)
@needs(Scope.ADMIN)
async def dryrun(request: Request, body: OrganizationRequest) -> JSONResponse:
    """Check slug, email, plan, the warehouse and its tables; make nothing.

    Every check that fails is told at once.
    """
    services = services_of(request)

    async def work() -> Answer:
        outcome = await services.operations.run(
            Operation.DRYRUN,
            about="platform",
            values=body.model_dump(),
            seconds=services.settings.admin_call_wait_seconds,
        )
        return Answer(200 if outcome.ended else 202, operation_body(request, outcome))

    told, given = {"call": "dryrun", "body": body.model_dump()}, idempotency_key(request)
    return respond(await services.once.answer(PLATFORM, work, given=given, request=told))


@router.post(
    "/onboard",
    summary="Onboard an organization",
    response_model=OnboardAnswer,
    responses={202: {"model": OnboardAnswer, "description": WAITING}},
)
@needs(Scope.ADMIN)
async def onboard(request: Request, body: OrganizationRequest) -> JSONResponse:
    """Make the organization, its dataset and tables, and its first key.

    The key is told once. Where the answer is 202, ask for a key once the operation succeeded.
    """
    services = services_of(request)
    _check_organization(body)

    async def work() -> Answer:
        return await _onboard(request, body, services)

    async def alone() -> Answer:
        return await services.once.alone(PLATFORM, f"onboard|{body.org_slug}", work)

    return respond(
        await services.once.answer(
            PLATFORM,
            alone,
            given=idempotency_key(request),
            request={"call": "onboard", "body": body.model_dump()},
        )
    )


async def _onboard(request: Request, body: OrganizationRequest, services: Services) -> Answer:
    await run_in_threadpool(_refuse_onboarded, services, body.org_slug)
    outcome = await services.operations.run(
        Operation.ONBOARD,
        about=body.org_slug,
        values=body.model_dump(),
        seconds=services.settings.admin_call_wait_seconds,
    )
    told: dict[str, Any] = {"org_slug": body.org_slug, **operation_body(request, outcome)}
    if not outcome.ended:
        return Answer(202, told)
    issued = await run_in_threadpool(_issue, services, body.org_slug, by=actor(request))
    fingerprint = ApiKeyFingerprint(key_id=issued.key_id, last_four=issued.last_four)
    told |= {"api_key": issued.secret, "api_key_fingerprint": fingerprint.model_dump()}
    return Answer(200, told, secrets=frozenset({"api_key"}))


@router.post("/{org}/api-keys", summary="Issue a further key", response_model=ApiKeyAnswer)
@needs(Scope.ADMIN)
async def issue_api_key(
    request: Request, org: str, body: ApiKeyRequest | None = None
) -> JSONResponse:
    """Give an onboarded organization a key beside those it has. It is told once."""
    services, asked = services_of(request), body or ApiKeyRequest()
    if asked.not_after is not None and asked.not_after <= datetime.now(UTC):
        raise InvalidFieldsError([fault("body.not_after", "lies in the past")])

    async def work() -> Answer:
        await run_in_threadpool(orgs.get_active_org, services.warehouse, org)
        issued = await run_in_threadpool(
            partial(_issue, services, org, by=actor(request), not_after=asked.not_after)
        )
        return Answer(200, _key_body(issued), secrets=frozenset({"api_key"}))

    return respond(
        await services.once.answer(
            PLATFORM,
            work,
            given=idempotency_key(request),
            request={"call": "api-keys", "org": org, "body": asked.model_dump(mode="json")},
        )
    )


@router.put("/{org}/subscription", summary="Change a subscription")
@needs(Scope.ADMIN)
async def put_subscription(
    request: Request, org: str, body: SubscriptionRequest
) -> SubscriptionAnswer:
    """Set status, plan or the trial's end; what is not given stays as it is.

    Takes effect within a minute everywhere. Only ACTIVE and an unexpired TRIAL may run.
    """
    if body.status and body.billing_status:
        raise InvalidFieldsError([fault("body.billing_status", "stands instead of status")])
    services, now = services_of(request), datetime.now(UTC)

    def change() -> subscriptions.Subscription:
        orgs.get_active_org(services.warehouse, org)
        present = subscriptions.get_subscription(services.warehouse, org)
        return subscriptions.update_subscription(
            services.store,
            services.warehouse,
            org_slug=org,
            status=body.status or body.billing_status or present.status,
            by=actor(request),
            now=now,
            trial_ends_at=_end_of(body.trial_end_date),
            plan=body.plan,
        )

    changed = await run_in_threadpool(change)
    services.gate.forget_org(org)
    known = SubscriptionAnswer.model_fields
    return SubscriptionAnswer(**{name: getattr(changed, name) for name in known})


def _check_organization(body: OrganizationRequest) -> None:
    faults: list[FieldFault] = []
    if not SLUG.fullmatch(body.org_slug):
        told = "must be 3 to 50 lowercase letters, digits and _, with no _ at either end"
        faults.append(fault("body.org_slug", told))
    name, _, host = body.admin_email.rpartition("@")
    if not name or "." not in host.strip(".") or " " in body.admin_email:
        faults.append(fault("body.admin_email", "must be an email address"))
    plans = sorted(quotas.load_plans())
    if body.subscription_plan not in plans:
        faults.append(
            fault(
                "body.subscription_plan",
                "is not a plan",
                given=body.subscription_plan,
                accepted=plans,
            )
        )
    if faults:
        raise InvalidFieldsError(faults)


def _refuse_onboarded(services: Services, org: str) -> None:
    """An org without a key is one whose onboarding was cut short: it may go on.

    Where no key could be issued at the end, nothing is begun.
    """
    services.kms.get_primary_version()
    found = orgs.find_org(services.warehouse, org)
    if found is not None and keys.list_keys(services.warehouse, org):
        raise ConflictError("The organization is onboarded. Ask for a further key instead.")


def _issue(
    services: Services, org: str, *, by: Actor, not_after: datetime | None = None
) -> IssuedKey:
    return keys.issue_key(
        services.store,
        services.warehouse,
        services.kms,
        org,
        scopes=org_scopes(),
        by=by,
        now=datetime.now(UTC),
        not_after=not_after,
    )


def _key_body(issued: IssuedKey) -> dict[str, Any]:
    answer = ApiKeyAnswer(
        org_slug=issued.org_slug,
        api_key=issued.secret,
        api_key_fingerprint=ApiKeyFingerprint(key_id=issued.key_id, last_four=issued.last_four),
        scopes=sorted(issued.scopes),
        created_at=issued.created_at,
        not_after=issued.not_after,
    )
    return answer.model_dump(mode="json", exclude_none=True)


def _end_of(given: datetime | date | None) -> datetime | None:
    """The instant a trial ends; a day is included whole."""
    if given is None or isinstance(given, datetime):
        return given
    return datetime.combine(given, time.min, UTC) + timedelta(days=1)
