"""Routes of an organization's API keys, for the platform's operator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi.responses import JSONResponse

from convergence.api.http.dependencies import ActorDep, IdempotentCallDep, ServicesDep
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.responses import build_result, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.organizations.key_models import (
    ApiKeyFingerprint,
    ApiKeyRequest,
    ApiKeyResponse,
    KeyInfo,
    KeyList,
    RotationRequest,
    RotationResponse,
)
from convergence.api.organizations.keys import KEY_FIELDS, build_key_info, issue_org_key
from convergence.tenants import orgs
from convergence.tenants.api_keys import keys
from convergence.tenants.api_keys.keys import IssuedKey, Rotation

router = guarded_router(prefix="/organizations", tag="organizations")


@router.post(
    "/{org}/api-keys",
    operation_id="issue_api_key",
    summary="Issue an additional API key",
    response_model=ApiKeyResponse,
)
@require_scope(Scope.ADMIN)
def issue_api_key(
    services: ServicesDep,
    actor: ActorDep,
    call: IdempotentCallDep,
    org: str,
    body: ApiKeyRequest | None = None,
) -> JSONResponse:
    """Issue a key in addition to an onboarded organization's keys. It is returned only once."""
    options = body or ApiKeyRequest()
    if options.not_after is not None and options.not_after <= datetime.now(UTC):
        message = "must be in the future"
        raise InvalidFieldsError([build_field_error("body.not_after", message)])
    document = options.model_dump(mode="json")
    with call.claim({"call": "api-keys", "org": org, "body": document}) as claim:
        if claim.is_new:
            orgs.get_active_org(services.warehouse, org)
            issued = issue_org_key(services, org, by=actor, not_after=options.not_after)
            claim.complete(build_result(_build_key_response(issued), secrets=KEY_FIELDS))
    return respond(claim.result)


@router.get(
    "/{org}/api-keys",
    operation_id="list_api_keys",
    summary="List an organization's API keys",
    response_model_exclude_none=True,
)
@require_scope(Scope.ADMIN)
def list_api_keys(services: ServicesDep, org: str) -> KeyList:
    """Return every issued key without its secret, newest first."""
    orgs.get_org(services.warehouse, org)
    known = keys.list_keys(services.warehouse, org)
    return KeyList(org_slug=org, api_keys=[build_key_info(key) for key in known])


@router.post(
    "/{org}/api-keys/rotate",
    operation_id="rotate_api_key",
    summary="Rotate an API key",
    response_model=RotationResponse,
)
@require_scope(Scope.ADMIN)
def rotate_api_key(
    services: ServicesDep,
    actor: ActorDep,
    call: IdempotentCallDep,
    org: str,
    body: RotationRequest | None = None,
) -> JSONResponse:
    """Replace a key by a new one; both are valid during the overlap.

    The new key is returned only once. It has the scopes of the old key.
    """
    options = body or RotationRequest()
    document = options.model_dump()
    with call.claim({"call": "api-keys/rotate", "org": org, "body": document}) as claim:
        if claim.is_new:
            orgs.get_active_org(services.warehouse, org)
            rotation = keys.rotate_key(
                services.store,
                services.warehouse,
                services.kms,
                org,
                by=actor,
                now=datetime.now(UTC),
                overlap=timedelta(seconds=options.overlap_seconds),
                key_id=options.key_id,
            )
            services.authenticator.forget_key(rotation.replaced_key_id)
            claim.complete(build_result(_build_rotation_response(rotation), secrets=KEY_FIELDS))
    return respond(claim.result)


@router.delete(
    "/{org}/api-keys/{key_id}",
    operation_id="revoke_api_key",
    summary="Revoke an API key",
    response_model_exclude_none=True,
)
@require_scope(Scope.ADMIN)
def revoke_api_key(services: ServicesDep, actor: ActorDep, org: str, key_id: str) -> KeyInfo:
    """Revoke a key; every process rejects it within seconds. Revoking it again has no effect."""
    keys.revoke_key(
        services.store,
        services.warehouse,
        org_slug=org,
        key_id=key_id,
        by=actor,
        now=datetime.now(UTC),
    )
    services.authenticator.forget_key(key_id)
    known = keys.list_keys(services.warehouse, org)
    return next(build_key_info(key) for key in known if key.key_id == key_id)


def _build_key_response(issued: IssuedKey) -> ApiKeyResponse:
    return ApiKeyResponse(
        org_slug=issued.org_slug,
        api_key=issued.secret,
        api_key_fingerprint=_build_fingerprint(issued),
        scopes=sorted(issued.scopes),
        created_at=issued.created_at,
        not_after=issued.not_after,
    )


def _build_rotation_response(rotation: Rotation) -> RotationResponse:
    issued = rotation.issued
    return RotationResponse(
        org_slug=issued.org_slug,
        api_key=issued.secret,
        api_key_fingerprint=_build_fingerprint(issued),
        scopes=sorted(issued.scopes),
        created_at=issued.created_at,
        replaced_key_id=rotation.replaced_key_id,
        replaced_not_after=rotation.replaced_not_after,
    )


def _build_fingerprint(issued: IssuedKey) -> ApiKeyFingerprint:
    return ApiKeyFingerprint(key_id=issued.key_id, last_four=issued.last_four)
