"""An organization's connections to its providers."""

from __future__ import annotations

import hashlib

from fastapi import Request
from fastapi.responses import JSONResponse

from convergence.api.http.idempotency import Answer
from convergence.api.http.models import IntegrationAnswer, IntegrationList, IntegrationRequest
from convergence.api.http.responses import actor, idempotency_key, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, needs
from convergence.api.http.services import services_of
from convergence.api.integrations.connections import Integrations

router = guarded_router(prefix="/integrations", tag="integrations")


def _integrations(request: Request, org: str) -> Integrations:
    return Integrations(services_of(request), org_slug=org, by=actor(request))


@router.post(
    "/{org}/{provider}/setup", summary="Connect a provider", response_model=IntegrationAnswer
)
@needs(Scope.INTEGRATIONS_WRITE)
async def setup(
    request: Request, org: str, provider: str, body: IntegrationRequest
) -> JSONResponse:
    """Validate the credential with its provider, encrypt it and store it.

    A refused credential is answered 422 with `validation_status: INVALID` and is not stored.
    PENDING means that the provider could not be asked; validate again later.
    With a valid one, runs are queued that load the defaults and import the history, as
    `import_runs` tells, unless the request says otherwise.
    """

    async def work() -> Answer:
        found = await _integrations(request, org).connect(
            provider,
            body.credential,
            credential_name=body.credential_name,
            import_history=body.import_history,
        )
        return Answer(200, found.model_dump(mode="json", exclude_none=True))

    # Only a digest of the credential makes the request this one: the key itself is kept nowhere.
    told = hashlib.sha256(repr(body.credential).encode()).hexdigest()
    return respond(
        await services_of(request).once.answer(
            org,
            work,
            given=idempotency_key(request),
            request={
                "call": "setup",
                "provider": provider,
                "credential": told,
                "name": body.credential_name,
                "import": body.import_history,
            },
        )
    )


@router.post(
    "/{org}/{provider}/validate",
    summary="Validate a stored credential again",
    response_model=IntegrationAnswer,
    responses={202: {"model": IntegrationAnswer, "description": "The validation goes on."}},
)
@needs(Scope.INTEGRATIONS_WRITE)
async def validate(request: Request, org: str, provider: str) -> JSONResponse:
    """Ask the provider about the stored credential; a worker does it, since this API can't decrypt.

    Where that takes long the answer is 202 with the integration as it stood; read it again later.
    """

    async def work() -> Answer:
        found, outcome = await _integrations(request, org).validate(provider)
        body = found.model_dump(mode="json", exclude_none=True)
        return Answer(200 if outcome.ended else 202, body)

    told, given = {"call": "validate", "provider": provider}, idempotency_key(request)
    return respond(await services_of(request).once.answer(org, work, given=given, request=told))


@router.get("/{org}", summary="Every connected provider", response_model_exclude_none=True)
@needs(Scope.INTEGRATIONS_READ)
async def integrations(request: Request, org: str) -> IntegrationList:
    """The connected providers; never a credential."""
    return IntegrationList(org_slug=org, integrations=await _integrations(request, org).every())


@router.get("/{org}/{provider}", summary="One connected provider", response_model_exclude_none=True)
@needs(Scope.INTEGRATIONS_READ)
async def integration(request: Request, org: str, provider: str) -> IntegrationAnswer:
    """How a connection stands; never its credential."""
    return await _integrations(request, org).one(provider)


@router.delete(
    "/{org}/{provider}", summary="Disconnect a provider", response_model_exclude_none=True
)
@needs(Scope.INTEGRATIONS_WRITE, when_suspended=WhenSuspended.SERVED)
async def disconnect(request: Request, org: str, provider: str) -> IntegrationAnswer:
    """Drop the stored credential; pipelines that need it refuse to run from now on."""
    return await _integrations(request, org).disconnect(provider)
