"""An organization's keys: seen, replaced and revoked by the platform's operator."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from convergence.api.http.idempotency import PLATFORM, Answer
from convergence.api.http.models import ApiKeyFingerprint
from convergence.api.http.responses import actor, idempotency_key, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import Services, services_of
from convergence.api.organizations.models import KeyInfo, KeyList, RotationAnswer, RotationRequest
from convergence.tenants import keys, orgs
from convergence.tenants.keys import KnownKey, Rotation

router = guarded_router(prefix="/organizations", tag="organizations")


@router.get("/{org}/api-keys", summary="An organization's keys", response_model_exclude_none=True)
@needs(Scope.ADMIN)
async def api_keys(request: Request, org: str) -> KeyList:
    """Every key that was ever issued, newest first; never a key itself."""
    return await run_in_threadpool(_list, services_of(request), org)


@router.post("/{org}/api-keys/rotate", summary="Replace a key", response_model=RotationAnswer)
@needs(Scope.ADMIN)
async def rotate_api_key(
    request: Request, org: str, body: RotationRequest | None = None
) -> JSONResponse:
    """Give a new key for an old one; both open the organization for the overlap.

    The new key is told once. It has the old one's scopes.
    """
    services, asked = services_of(request), body or RotationRequest()

    async def work() -> Answer:
        await run_in_threadpool(orgs.get_active_org, services.warehouse, org)
        rotation = await run_in_threadpool(
            partial(
                keys.rotate_key,
                services.store,
                services.warehouse,
                services.kms,
                org,
                by=actor(request),
                now=datetime.now(UTC),
                overlap=timedelta(seconds=asked.overlap_seconds),
                key_id=asked.key_id,
            )
        )
        services.authenticator.forget_key(rotation.replaced_key_id)
        return Answer(200, _told(rotation), secrets=frozenset({"api_key"}))

    return respond(
        await services.once.answer(
            PLATFORM,
            work,
            given=idempotency_key(request),
            request={"call": "api-keys/rotate", "org": org, "body": asked.model_dump()},
        )
    )


@router.delete("/{org}/api-keys/{key_id}", summary="Revoke a key", response_model_exclude_none=True)
@needs(Scope.ADMIN)
async def revoke_api_key(request: Request, org: str, key_id: str) -> KeyInfo:
    """Refuse a key from now on, in every process within seconds; revoking it again is no fault."""
    services = services_of(request)

    def revoke() -> KeyInfo:
        keys.revoke_key(
            services.store,
            services.warehouse,
            org_slug=org,
            key_id=key_id,
            by=actor(request),
            now=datetime.now(UTC),
        )
        services.authenticator.forget_key(key_id)
        known = keys.list_keys(services.warehouse, org)
        return next(key_info(key) for key in known if key.key_id == key_id)

    return await run_in_threadpool(revoke)


def key_info(key: KnownKey) -> KeyInfo:
    """A key as it may be shown."""
    return KeyInfo(**{name: getattr(key, name) for name in KeyInfo.model_fields})


def _list(services: Services, org: str) -> KeyList:
    orgs.get_org(services.warehouse, org)
    known = keys.list_keys(services.warehouse, org)
    return KeyList(org_slug=org, api_keys=[key_info(key) for key in known])


def _told(rotation: Rotation) -> dict[str, object]:
    new = rotation.issued
    answer = RotationAnswer(
        org_slug=new.org_slug,
        api_key=new.secret,
        api_key_fingerprint=ApiKeyFingerprint(key_id=new.key_id, last_four=new.last_four),
        scopes=sorted(new.scopes),
        created_at=new.created_at,
        replaced_key_id=rotation.replaced_key_id,
        replaced_not_after=rotation.replaced_not_after,
    )
    return answer.model_dump(mode="json", exclude_none=True)
