"""Routes of an organization's integrations with providers."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends
from fastapi.responses import JSONResponse

from convergence.api.http.dependencies import ActorDep, IdempotentCallDep, ServicesDep
from convergence.api.http.responses import build_result, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, WhenSuspended, require_scope
from convergence.api.integrations.connections import Integrations
from convergence.api.integrations.models import (
    IntegrationList,
    IntegrationRequest,
    IntegrationResponse,
)

router = guarded_router(prefix="/integrations", tag="integrations")


async def _get_integrations(services: ServicesDep, actor: ActorDep, org: str) -> Integrations:
    return Integrations(services, org_slug=org, by=actor)


IntegrationsDep = Annotated[Integrations, Depends(_get_integrations)]


@router.post(
    "/{org}/{provider}/setup",
    operation_id="connect_provider",
    summary="Connect a provider",
    response_model=IntegrationResponse,
)
@require_scope(Scope.INTEGRATIONS_WRITE)
async def connect_provider(
    integrations: IntegrationsDep, call: IdempotentCallDep, provider: str, body: IntegrationRequest
) -> JSONResponse:
    """Validate the credential with its provider, encrypt it and store it.

    The response to an invalid credential is 422 with `validation_status: INVALID`; the credential
    is not stored. PENDING means that the provider could not be reached: validate again later.
    A valid credential queues runs that load the defaults and import the history, listed in
    `import_runs`, unless `import_history` is false.
    """
    request = {
        "call": "setup",
        "provider": provider,
        # A digest identifies the credential in the request's hash: the key itself is not stored.
        "credential": hashlib.sha256(repr(body.credential).encode()).hexdigest(),
        "name": body.credential_name,
        "import": body.import_history,
    }
    async with call.claim_async(request) as claim:
        if claim.is_new:
            connected = await integrations.connect(
                provider,
                body.credential,
                credential_name=body.credential_name,
                import_history=body.import_history,
            )
            claim.complete(build_result(connected))
    return respond(claim.result)


@router.post(
    "/{org}/{provider}/validate",
    operation_id="validate_integration",
    summary="Validate a stored credential again",
    response_model=IntegrationResponse,
    responses={
        202: {"model": IntegrationResponse, "description": "The validation is still running."}
    },
)
@require_scope(Scope.INTEGRATIONS_WRITE)
async def validate_integration(
    integrations: IntegrationsDep, call: IdempotentCallDep, provider: str
) -> JSONResponse:
    """Validate the stored credential at its provider, in a worker: the API can't decrypt.

    When it takes long, the response is 202 with the present state; get the integration later.
    """
    async with call.claim_async({"call": "validate", "provider": provider}) as claim:
        if claim.is_new:
            validated, state = await integrations.validate(provider)
            claim.complete(build_result(validated, status=200 if state.ended else 202))
    return respond(claim.result)


@router.get(
    "/{org}",
    operation_id="list_integrations",
    summary="List connected providers",
    response_model_exclude_none=True,
)
@require_scope(Scope.INTEGRATIONS_READ)
def list_integrations(integrations: IntegrationsDep, org: str) -> IntegrationList:
    """Return the connected providers without their credentials."""
    return IntegrationList(org_slug=org, integrations=integrations.list_connected())


@router.get(
    "/{org}/{provider}",
    operation_id="get_integration",
    summary="Get a connected provider",
    response_model_exclude_none=True,
)
@require_scope(Scope.INTEGRATIONS_READ)
def get_integration(integrations: IntegrationsDep, provider: str) -> IntegrationResponse:
    """Return the state of an integration without its credential."""
    return integrations.get_connected(provider)


@router.delete(
    "/{org}/{provider}",
    operation_id="disconnect_provider",
    summary="Disconnect a provider",
    response_model_exclude_none=True,
)
@require_scope(Scope.INTEGRATIONS_WRITE, when_suspended=WhenSuspended.SERVED)
def disconnect_provider(integrations: IntegrationsDep, provider: str) -> IntegrationResponse:
    """Delete the stored credential. Pipelines that need it can't run from then on."""
    return integrations.disconnect(provider)
