"""Validate a credential with AWS: GetCallerIdentity for a key, AssumeRole for a role."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import BotoCoreError, ClientError

from convergence.errors import ConfigurationError
from convergence.providers.aws_session import (
    AccessKey,
    AwsSession,
    AwsTimeouts,
    Role,
    parse_credential,
)

if TYPE_CHECKING:
    from convergence.providers.registry import Provider
    from convergence.settings import Settings

Verdict = tuple[Literal["VALID", "INVALID", "PENDING"], str | None]
"""A status and, unless it is VALID, the reason."""

SESSION_NAME = "convergence-validation"
_TIMEOUTS = AwsTimeouts(connect=4.0, read=8.0, attempts=1)

# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
_UNKNOWN_KEY_CODES = frozenset(
    {"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}
    | {"InvalidAccessKeyId", "IncompleteSignature", "MissingAuthenticationToken"}
)
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "OptInRequired"})


async def validate_aws_credential(provider: Provider, text: str, *, settings: Settings) -> Verdict:
    """Validate a credential of a valid form with AWS.

    A role that can't be assumed because of this installation (it has no key, or AWS rejects its
    key) is PENDING, since that says nothing about the credential.
    """
    credential = parse_credential(text)
    if isinstance(credential, Role):
        return await asyncio.to_thread(_validate_role, provider, credential, settings)
    return await asyncio.to_thread(_validate_key, provider, credential, settings)


def _validate_key(provider: Provider, key: AccessKey, settings: Settings) -> Verdict:
    try:
        AwsSession.with_key(key, settings=settings, timeouts=_TIMEOUTS).sts().get_caller_identity()
    except ClientError as error:
        code = code_of(error)
        if code in _UNKNOWN_KEY_CODES:
            return "INVALID", provider.validation.refusals["401"]
        if code in _DENIED_CODES:
            return "INVALID", provider.validation.refusals["403"]
        return _describe_failure(error)
    except BotoCoreError as error:
        return _describe_unreachable(error)
    return "VALID", None


def _validate_role(provider: Provider, role: Role, settings: Settings) -> Verdict:
    try:
        AwsSession.with_role(role, settings=settings, session_name=SESSION_NAME, timeouts=_TIMEOUTS)
    except ConfigurationError:
        return "PENDING", "This installation has no AWS key to assume the role with"
    except ClientError as error:
        code = code_of(error)
        if code in _DENIED_CODES:
            return "INVALID", provider.validation.refusals["403"]
        if code in _UNKNOWN_KEY_CODES:
            return "PENDING", "AWS does not accept this installation's own key; try again later"
        return _describe_failure(error)
    except BotoCoreError as error:
        return _describe_unreachable(error)
    return "VALID", None


def code_of(error: ClientError) -> str:
    """Return AWS's error code. Its message is not used, since it may quote the credential."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _describe_failure(error: ClientError) -> Verdict:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code_of(error) in {"Throttling", "ThrottlingException", "SlowDown"}:
        return "PENDING", "AWS is throttling us; try again in a minute"
    return "PENDING", f"AWS returned an unexpected response (HTTP {status}); try again"


def _describe_unreachable(error: BotoCoreError) -> Verdict:
    return "PENDING", f"AWS could not be reached ({type(error).__name__}); try again"
