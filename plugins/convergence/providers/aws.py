"""Ask AWS whether it takes a credential: GetCallerIdentity with a key, AssumeRole for a role."""

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
"""A status and, unless VALID, why."""

SESSION_NAME = "convergence-validation"
_TIMEOUTS = AwsTimeouts(connect=4.0, read=8.0, attempts=1)

# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
_UNKNOWN = frozenset(
    {"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"}
    | {"InvalidAccessKeyId", "IncompleteSignature", "MissingAuthenticationToken"}
)
_REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "OptInRequired"})


async def validate_aws_credential(provider: Provider, text: str, *, settings: Settings) -> Verdict:
    """What AWS says of a credential whose form is right.

    A role that can't be assumed because of us (no key of our own, or one that AWS refuses) says
    nothing of the credential and is PENDING.
    """
    credential = parse_credential(text)
    if isinstance(credential, Role):
        return await asyncio.to_thread(_ask_role, provider, credential, settings)
    return await asyncio.to_thread(_ask_key, provider, credential, settings)


def _ask_key(provider: Provider, key: AccessKey, settings: Settings) -> Verdict:
    try:
        AwsSession.with_key(key, settings=settings, timeouts=_TIMEOUTS).sts().get_caller_identity()
    except ClientError as error:
        code = code_of(error)
        if code in _UNKNOWN:
            return "INVALID", provider.validation.refusals["401"]
        if code in _REFUSED:
            return "INVALID", provider.validation.refusals["403"]
        return _trouble(error)
    except BotoCoreError as error:
        return _unreachable(error)
    return "VALID", None


def _ask_role(provider: Provider, role: Role, settings: Settings) -> Verdict:
    try:
        AwsSession.with_role(role, settings=settings, session_name=SESSION_NAME, timeouts=_TIMEOUTS)
    except ConfigurationError:
        return "PENDING", "This installation has no AWS key of its own to assume the role with"
    except ClientError as error:
        code = code_of(error)
        if code in _REFUSED:
            return "INVALID", provider.validation.refusals["403"]
        if code in _UNKNOWN:
            return "PENDING", "AWS does not accept this installation's own key; try again later"
        return _trouble(error)
    except BotoCoreError as error:
        return _unreachable(error)
    return "VALID", None


def code_of(error: ClientError) -> str:
    """AWS's name of the error; its message is not handed on, since it quotes what was sent."""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _trouble(error: ClientError) -> Verdict:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code_of(error) in {"Throttling", "ThrottlingException", "SlowDown"}:
        return "PENDING", "AWS is throttling us; try again in a minute"
    return "PENDING", f"AWS gave an unexpected answer (HTTP {status}); try again"


def _unreachable(error: BotoCoreError) -> Verdict:
    return "PENDING", f"AWS could not be reached ({type(error).__name__}); try again"
