"""Check the form of a credential without a call of the provider.

Only plain secrets are accepted. Some kinds of Google credentials contain URLs or commands; they
are rejected, since a client would call or run what a tenant wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from convergence.errors import CredentialRejectedError
from convergence.providers.registry import CredentialForm, Provider

MAX_CHARS = 32_768
_GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address, no secret
_GOOGLE_UNIVERSE = "googleapis.com"
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def check_form(provider: Provider, secret: str) -> str:
    """Return the credential, stripped, if it has a form that the provider accepts.

    Raises:
        CredentialRejectedError: it has no accepted form. The error names the accepted forms and
            never a part of the credential.
    """
    text = secret.strip()
    reason = "is empty" if not text else "is too long" if len(text) > MAX_CHARS else None
    reasons: list[str] = []
    if reason is None:
        for form in provider.credentials:
            found = _CHECKS[form.form](form, text)
            if found is None:
                return text
            reasons.append(found)
        reason = "; ".join(dict.fromkeys(reasons))
    raise CredentialRejectedError(
        f"The credential for {provider.name} {reason}",
        accepted=[form.hint for form in provider.credentials],
    )


def _check_api_key(form: CredentialForm, text: str) -> str | None:
    matches = re.fullmatch(form.pattern or "", text)
    return None if matches else "does not look like one of its keys"


def _check_google_service_account(_form: CredentialForm, text: str) -> str | None:
    parts = _parse_object(text)
    if parts is None:
        return "is not a JSON object"
    if parts.get("type") != "service_account":
        return "is not of type service_account"
    if parts.get("token_uri", _GOOGLE_TOKEN_URI) != _GOOGLE_TOKEN_URI:
        return "names a token_uri other than Google's"
    if parts.get("universe_domain", _GOOGLE_UNIVERSE) != _GOOGLE_UNIVERSE:
        return "names a universe_domain other than Google's"
    return _find_missing_field(
        parts, {"client_email": r"[^@\s]+@[^@\s]+", "private_key": r"-----BEGIN .*"}
    )


def _check_aws_role(_form: CredentialForm, text: str) -> str | None:
    arn = r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}"
    return _check_fields(text, {"role_arn": arn, "external_id": r"[\w+=,.@:/-]{2,1224}"})


def _check_aws_access_key(_form: CredentialForm, text: str) -> str | None:
    shapes = {"access_key_id": r"AKIA[0-9A-Z]{16}", "secret_access_key": r"[0-9A-Za-z/+=]{40}"}
    return _check_fields(text, shapes)


def _check_azure_client_secret(_form: CredentialForm, text: str) -> str | None:
    shapes = {"tenant_id": _GUID, "client_id": _GUID, "client_secret": r"\S{8,200}"}
    return _check_fields(text, shapes)


_CHECKS: Mapping[str, Callable[[CredentialForm, str], str | None]] = {
    "api_key": _check_api_key,
    "google_service_account": _check_google_service_account,
    "aws_role": _check_aws_role,
    "aws_access_key": _check_aws_access_key,
    "azure_client_secret": _check_azure_client_secret,
}


def _check_fields(text: str, shapes: Mapping[str, str]) -> str | None:
    parts = _parse_object(text)
    if parts is None:
        return "is not a JSON object"
    if unknown := sorted(set(parts) - set(shapes)):
        return f"has {len(unknown)} unknown fields" if len(unknown) > 1 else "has an unknown field"
    return _find_missing_field(parts, shapes)


def _find_missing_field(parts: Mapping[str, Any], shapes: Mapping[str, str]) -> str | None:
    for name, shape in shapes.items():
        value = parts.get(name)
        if not isinstance(value, str) or not re.fullmatch(shape, value, re.DOTALL):
            return f"has no valid {name}"
    return None


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parts if isinstance(parts, dict) else None
