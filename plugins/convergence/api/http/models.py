"""What the API takes and answers. Bodies forbid unknown fields; answers are allow-lists."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)

from convergence.api.http.days import Day, Instant

# One line of text: control characters have no place in names.
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=ONE_LINE),
]


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Strict(), BeforeValidator(_integral)]
"""An integer as JSON Schema has it: 3.0 is one; a text or a boolean is none."""

Plan = Literal["STARTER", "PROFESSIONAL", "SCALE"]


class Body(BaseModel):
    """Base of every request body."""

    model_config = ConfigDict(extra="forbid", str_max_length=65_536)


class Answer(BaseModel):
    """Base of every answer."""

    model_config = ConfigDict(extra="forbid")


# --- health ----------------------------------------------------------------------------------


class Live(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"
    version: str
    provider_registry: str = Field(
        description="Edition of `system/providers.yml`; tasks log theirs as `select_orgs` begins."
    )


class Check(Answer):
    """One thing the service needs."""

    status: Literal["ok", "failed"]
    milliseconds: float
    code: str | None = Field(default=None, description="Why it failed, as an error code.")


class Ready(Answer):
    """Whether everything the service needs answers."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, Check]


# --- the platform ----------------------------------------------------------------------------


class BootstrapRequest(Body):
    """What to do with the central dataset."""

    force_recreate_dataset: bool = Field(
        default=False,
        strict=True,
        description="Drop and create the central dataset anew; refused in production.",
    )
    confirmation: Annotated[Line, StringConstraints(max_length=100)] | None = Field(
        default=None, description="The dataset's name, typed, when it is to be recreated."
    )


class OrganizationRequest(Body):
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


class OperationAnswer(BaseModel):
    """A platform operation: its result, or where to ask for it."""

    model_config = ConfigDict(extra="allow")

    operation_id: str
    status: str = Field(description="QUEUED, RUNNING, SUCCESS or FAILED.", examples=["SUCCESS"])
    status_url: str
    message: str | None = None


class BootstrapAnswer(OperationAnswer):
    """What bootstrap made."""

    tables_created: list[str] | None = None


class DryRunAnswer(OperationAnswer):
    """Whether an organization could be onboarded, with every check."""

    ready_for_onboarding: bool | None = None
    checks: list[dict[str, Any]] | None = None


class ApiKeyFingerprint(Answer):
    """What may be kept of a key."""

    key_id: str
    last_four: str


class OnboardAnswer(OperationAnswer):
    """The organization's dataset and its first key, which is told this once."""

    org_slug: str
    api_key: str | None = Field(default=None, description="Told once, never again.")
    api_key_fingerprint: ApiKeyFingerprint | None = None
    dataset_id: str | None = None
    dataset_created: bool | None = None
    tables_created: list[str] | None = None


class ApiKeyRequest(Body):
    """A further key."""

    not_after: Instant | None = Field(
        default=None, description="From then on the key is refused; absent for no end."
    )


class ApiKeyAnswer(Answer):
    """A further key of an organization, which is told this once."""

    org_slug: str
    api_key: str | None = Field(
        default=None, description="Told once; absent when the answer is replayed."
    )
    api_key_fingerprint: ApiKeyFingerprint
    scopes: list[str]
    created_at: datetime
    not_after: datetime | None = None


class SubscriptionRequest(Body):
    """How an organization's subscription stands from now on."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ACTIVE", "plan": "PROFESSIONAL"}}
    )

    status: Literal["TRIAL", "ACTIVE", "SUSPENDED", "CANCELLED"] | None = None
    billing_status: (
        Literal["trialing", "active", "past_due", "paused", "incomplete", "canceled"] | None
    ) = Field(default=None, description="The billing system's word for it, instead of `status`.")
    trial_end_date: Instant | Day | None = Field(
        default=None, validation_alias=AliasChoices("trial_end_date", "trial_ends_at")
    )
    plan: Plan | None = None


class SubscriptionAnswer(Answer):
    """An organization's subscription."""

    org_slug: str
    status: str
    plan: str
    trial_ends_at: datetime | None = None
    period_start: date | datetime | None = None
    period_end: date | datetime | None = None
    updated_at: datetime | None = None


# --- integrations ----------------------------------------------------------------------------


class IntegrationRequest(Body):
    """A provider's credential."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"credential": "sk-admin-…", "credential_name": "Finance, read only"}
        },
        hide_input_in_errors=True,
    )

    credential: str | dict[str, Any] = Field(
        validation_alias=AliasChoices("credential", "api_key"),
        description="The key; for Google the service account's JSON, as text or object.",
        repr=False,
    )
    credential_name: Line | None = None
    import_history: bool = Field(
        default=True,
        strict=True,
        description="Whether defaults and history are imported at once; false leaves what is due "
        "to the pipelines' own schedules.",
    )


class ImportRun(Answer):
    """A run that connecting a provider has queued."""

    queue_id: str
    pipeline: str = Field(description="Its address.")
    pipeline_id: str
    debited: bool = Field(description="Whether it counts against the plan's limits.")
    follows: str | None = Field(default=None, description="Entry whose run must succeed first.")


class IntegrationAnswer(Answer):
    """A connected provider; never the credential."""

    org_slug: str
    provider: str
    validation_status: Literal["VALID", "INVALID", "PENDING"]
    credential_id: str | None = None
    credential_name: str | None = None
    fingerprint: str | None = None
    last_validated_at: datetime | None = None
    error: str | None = None
    connected_on: date | None = None
    status: Literal["ACTIVE", "DELETED"] = "ACTIVE"
    import_runs: list[ImportRun] | None = Field(
        default=None,
        description="Runs that connecting has queued, in their order: defaults, then history. "
        "`GET scheduler/queue` says what becomes of them.",
    )


class IntegrationList(Answer):
    """Every connected provider."""

    org_slug: str
    integrations: list[IntegrationAnswer]
