"""The forms of credential a provider accepts, checked without asking it.

Only plain secrets are accepted: kinds of Google credential that carry URLs or commands are not,
since whoever uses them would call or run what a tenant wrote.
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
    """The credential, without blanks around it, when it has a form that the provider accepts.

    Raises:
        CredentialRejectedError: it has not; what is accepted is told, nothing of the credential.
    """
    text = secret.strip()
    fault = "is empty" if not text else "is too long" if len(text) > MAX_CHARS else None
    faults: list[str] = []
    if fault is None:
        for form in provider.credentials:
            told = _CHECKS[form.form](form, text)
            if told is None:
                return text
            faults.append(told)
        fault = "; ".join(dict.fromkeys(faults))
    raise CredentialRejectedError(
        f"The credential for {provider.name} {fault}",
        accepted=[form.hint for form in provider.credentials],
    )


def _api_key(form: CredentialForm, text: str) -> str | None:
    matches = re.fullmatch(form.pattern or "", text)
    return None if matches else "does not look like one of its keys"


def _google_service_account(_form: CredentialForm, text: str) -> str | None:
    parts = _object(text)
    if parts is None:
        return "is not a JSON object"
    if parts.get("type") != "service_account":
        return "is not of type service_account"
    if parts.get("token_uri", _GOOGLE_TOKEN_URI) != _GOOGLE_TOKEN_URI:
        return "names a token_uri other than Google's"
    if parts.get("universe_domain", _GOOGLE_UNIVERSE) != _GOOGLE_UNIVERSE:
        return "names a universe_domain other than Google's"
    return _lacking(parts, {"client_email": r"[^@\s]+@[^@\s]+", "private_key": r"-----BEGIN .*"})


def _aws_role(_form: CredentialForm, text: str) -> str | None:
    arn = r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}"
    return _exactly(text, {"role_arn": arn, "external_id": r"[\w+=,.@:/-]{2,1224}"})


def _aws_access_key(_form: CredentialForm, text: str) -> str | None:
    shapes = {"access_key_id": r"AKIA[0-9A-Z]{16}", "secret_access_key": r"[0-9A-Za-z/+=]{40}"}
    return _exactly(text, shapes)


def _azure_client_secret(_form: CredentialForm, text: str) -> str | None:
    shapes = {"tenant_id": _GUID, "client_id": _GUID, "client_secret": r"\S{8,200}"}
    return _exactly(text, shapes)


_CHECKS: Mapping[str, Callable[[CredentialForm, str], str | None]] = {
    "api_key": _api_key,
    "google_service_account": _google_service_account,
    "aws_role": _aws_role,
    "aws_access_key": _aws_access_key,
    "azure_client_secret": _azure_client_secret,
}


def _exactly(text: str, shapes: Mapping[str, str]) -> str | None:
    parts = _object(text)
    if parts is None:
        return "is not a JSON object"
    if unknown := sorted(set(parts) - set(shapes)):
        return f"has {len(unknown)} unknown fields" if len(unknown) > 1 else "has an unknown field"
    return _lacking(parts, shapes)


def _lacking(parts: Mapping[str, Any], shapes: Mapping[str, str]) -> str | None:
    for name, shape in shapes.items():
        value = parts.get(name)
        if not isinstance(value, str) or not re.fullmatch(shape, value, re.DOTALL):
            return f"has no valid {name}"
    return None


def _object(text: str) -> dict[str, Any] | None:
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parts if isinstance(parts, dict) else None
