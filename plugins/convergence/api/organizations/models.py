"""Requests and responses about organizations: onboarding, subscription, removal."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from convergence.api.http.days import Day, Instant
from convergence.api.http.models import Line, OperationResponse, RequestModel, ResponseModel
from convergence.api.organizations.key_models import ApiKeyFingerprint, KeyInfo

PlanName = Literal["STARTER", "PROFESSIONAL", "SCALE"]


class OrganizationRequest(RequestModel):
    """An organization to be onboarded."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "org_slug": "acme_corp",
                "company_name": "Acme Corporation",
                "admin_email": "cfo@acme.example",
                "subscription_plan": "STARTER",
            }
        }
    )

    org_slug: Line = Field(description="3 to 50 lowercase letters, digits and underscores.")
    company_name: Line
    admin_email: Line
    subscription_plan: Line = Field(
        default="STARTER", description="STARTER, PROFESSIONAL or SCALE."
    )


class DryRunResponse(OperationResponse):
    """Whether an organization can be onboarded, with every check."""

    ready_for_onboarding: bool | None = None
    checks: list[dict[str, Any]] | None = None


class OnboardResponse(OperationResponse):
    """The organization's dataset and its first key, which is returned only once."""

    org_slug: str
    api_key: str | None = Field(default=None, description="Returned only once.")
    api_key_fingerprint: ApiKeyFingerprint | None = None
    dataset_id: str | None = None
    dataset_created: bool | None = None
    tables_created: list[str] | None = None


class SubscriptionRequest(RequestModel):
    """Changes of an organization's subscription."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ACTIVE", "plan": "PROFESSIONAL"}}
    )

    status: Literal["TRIAL", "ACTIVE", "SUSPENDED", "CANCELLED"] | None = None
    billing_status: (
        Literal["trialing", "active", "past_due", "paused", "incomplete", "canceled"] | None
    ) = Field(default=None, description="The billing system's status, in place of `status`.")
    trial_end_date: Instant | Day | None = Field(
        default=None, validation_alias=AliasChoices("trial_end_date", "trial_ends_at")
    )
    plan: PlanName | None = None


class SubscriptionResponse(ResponseModel):
    """An organization's subscription."""

    org_slug: str
    status: str
    plan: str
    trial_ends_at: datetime | None = None
    period_start: date | datetime | None = None
    period_end: date | datetime | None = None
    updated_at: datetime | None = None


class OrganizationInfo(ResponseModel):
    """An organization."""

    org_slug: str
    company_name: str
    admin_email: str
    dataset_id: str
    status: Literal["ACTIVE", "SUSPENDED", "DELETED"]
    created_at: datetime


class OrganizationList(ResponseModel):
    """A page of organizations, by slug."""

    organizations: list[OrganizationInfo]
    next_cursor: str | None = Field(
        default=None, description="Send it as `cursor` for the next page; absent on the last page."
    )


class SubscriptionInfo(ResponseModel):
    """An organization's plan and the status of its subscription."""

    plan: str
    status: Literal["TRIAL", "ACTIVE", "SUSPENDED", "CANCELLED"]
    trial_ends_at: datetime | None = None


class ConnectedProvider(ResponseModel):
    """A connected provider without its credential."""

    provider: str = Field(description="Name of the provider in tables, such as OPENAI.")
    validation_status: str
    connected_on: date


class OrganizationDetail(OrganizationInfo):
    """An organization with its subscription, keys and connected providers, without secrets."""

    subscription: SubscriptionInfo | None = None
    api_keys: list[KeyInfo]
    integrations: list[ConnectedProvider]


class RemovalResponse(ResponseModel):
    """The result of an organization's removal."""

    org_slug: str
    status: Literal["DELETED"]
    data: Literal["deleted", "kept"] = Field(
        description="`kept`: its dataset stays for export until a removal with `data=delete`."
    )
    dataset_id: str
    keys_revoked: int
    credentials_deleted: int
    runs_cancelled: int
