"""Add a credential to a request: in a header or as a parameter, plain or encoded."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from convergence.providers.registry import Auth


@dataclass(frozen=True, slots=True)
class Authorization:
    """The headers or parameters that carry a credential; the whole object is a secret.

    Attributes:
        headers: by name.
        params: of the query.
        secrets: the credential, plain and as it is sent.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def authorize(auth: Auth, secret: str) -> Authorization:
    """Return the header or parameter in which the provider expects the credential."""
    value = secret if auth.encoding == "plain" else base64.b64encode(secret.encode()).decode()
    if auth.param is not None:
        return Authorization(params=((auth.param, value),), secrets=(secret, value))
    return Authorization(headers={auth.header: auth.prefix + value}, secrets=(secret, value))
