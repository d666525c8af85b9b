"""Requests and responses about an organization's API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from convergence.api.http.days import Instant
from convergence.api.http.models import Line, RequestModel, ResponseModel, Whole
from convergence.tenants.api_keys.keys import DEFAULT_OVERLAP, MAX_OVERLAP

_MAX_OVERLAP_SECONDS = int(MAX_OVERLAP.total_seconds())


class ApiKeyFingerprint(ResponseModel):
    """The parts of a key that may be stored."""

    key_id: str
    last_four: str


class ApiKeyRequest(RequestModel):
    """An additional key."""

    not_after: Instant | None = Field(
        default=None, description="End of the key's validity; absent for no end."
    )


class ApiKeyResponse(ResponseModel):
    """An additional key of an organization; the key is returned only once."""

    org_slug: str
    api_key: str | None = Field(
        default=None, description="Returned only once; absent from a replayed response."
    )
    api_key_fingerprint: ApiKeyFingerprint
    scopes: list[str]
    created_at: datetime
    not_after: datetime | None = None


class RotationRequest(RequestModel):
    """Options of a key's rotation."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_seconds": 3600}})

    key_id: Line | None = Field(
        default=None, description="The key to replace; required when two are active."
    )
    overlap_seconds: Whole = Field(
        default=int(DEFAULT_OVERLAP.total_seconds()),
        ge=0,
        le=_MAX_OVERLAP_SECONDS,
        description="Seconds for which the old key stays valid; 0 ends it at once.",
    )


class RotationResponse(ResponseModel):
    """The new key, which is returned only once, and the end of the old one."""

    org_slug: str
    api_key: str | None = Field(
        default=None, description="Returned only once; absent from a replayed response."
    )
    api_key_fingerprint: ApiKeyFingerprint
    scopes: list[str]
    created_at: datetime
    replaced_key_id: str
    replaced_not_after: datetime = Field(description="End of the old key's validity.")


class KeyInfo(ResponseModel):
    """A key without its secret."""

    key_id: str
    last_four: str
    scopes: list[str]
    status: Literal["ACTIVE", "REVOKED"]
    created_at: datetime
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(
        default=None, description="Approximate time of the last use, some minutes late."
    )


class KeyList(ResponseModel):
    """An organization's keys, newest first."""

    org_slug: str
    api_keys: list[KeyInfo]
