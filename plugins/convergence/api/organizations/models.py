"""What the API takes and answers about organizations as they stand, their keys and their end."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import ConfigDict, Field

from convergence.api.http.models import Answer, ApiKeyFingerprint, Body, Line, Whole
from convergence.tenants.keys import DEFAULT_OVERLAP, MAX_OVERLAP

_LONGEST_SECONDS = int(MAX_OVERLAP.total_seconds())


class RotationRequest(Body):
    """How a key is replaced."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_seconds": 3600}})

    key_id: Line | None = Field(
        default=None, description="The key to replace; needed where two are active."
    )
    overlap_seconds: Whole = Field(
        default=int(DEFAULT_OVERLAP.total_seconds()),
        ge=0,
        le=_LONGEST_SECONDS,
        description="How long the old key stays good beside the new one; 0 ends it at once.",
    )


class RotationAnswer(Answer):
    """The new key, which is told this once, and the end of the old one."""

    org_slug: str
    api_key: str | None = Field(
        default=None, description="Told once; absent when the answer is replayed."
    )
    api_key_fingerprint: ApiKeyFingerprint
    scopes: list[str]
    created_at: datetime
    replaced_key_id: str
    replaced_not_after: datetime = Field(description="From then on the old key is refused.")


class KeyInfo(Answer):
    """A key as it may be shown."""

    key_id: str
    last_four: str
    scopes: list[str]
    status: Literal["ACTIVE", "REVOKED"]
    created_at: datetime
    not_after: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(
        default=None, description="A recent use; it may lag by a few minutes."
    )


class KeyList(Answer):
    """An organization's keys, newest first."""

    org_slug: str
    api_keys: list[KeyInfo]


class OrganizationInfo(Answer):
    """An organization."""

    org_slug: str
    company_name: str
    admin_email: str
    dataset_id: str
    status: Literal["ACTIVE", "SUSPENDED", "DELETED"]
    created_at: datetime


class OrganizationList(Answer):
    """Every organization, by slug."""

    organizations: list[OrganizationInfo]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; absent on the last."
    )


class SubscriptionInfo(Answer):
    """An organization's plan and whether it may run."""

    plan: str
    status: Literal["TRIAL", "ACTIVE", "SUSPENDED", "CANCELLED"]
    trial_ends_at: datetime | None = None


class OrganizationDetail(OrganizationInfo):
    """An organization with its subscription, keys and connections; no secret of either."""

    subscription: SubscriptionInfo | None = None
    api_keys: list[KeyInfo]
    integrations: list[ConnectedProvider]


class ConnectedProvider(Answer):
    """A connection, as the platform sees it."""

    provider: str = Field(description="As tables name it, such as OPENAI.")
    validation_status: str
    connected_on: date


class RemovalAnswer(Answer):
    """What became of an organization that was removed."""

    org_slug: str
    status: Literal["DELETED"]
    data: Literal["deleted", "kept"] = Field(
        description="`kept`: its dataset stays for export until it is removed with `data=delete`."
    )
    dataset_id: str
    keys_revoked: int
    credentials_deleted: int
    runs_cancelled: int


OrganizationDetail.model_rebuild()
