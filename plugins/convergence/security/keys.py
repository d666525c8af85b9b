"""Org slugs and the org keys made from them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from typing import Final

from convergence.errors import NotAuthenticatedError, RequestError

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_]{1,48}[a-z0-9]")
"""3 to 50 lowercase letters, digits and inner underscores; use `fullmatch`."""

_MARK: Final = "_api_"
_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_CHARS: Final = 16  # 95 bits: beyond an offline search of the stored digests
_SECRET: Final = re.compile(rf"[{_BASE62}]{{{_SECRET_CHARS}}}")
_MAX_KEY_CHARS: Final = 50 + len(_MARK) + _SECRET_CHARS


def check_slug(slug: str) -> str:
    """Return the slug unchanged if it is valid.

    Raises:
        RequestError: it is not; the message says what is accepted.
    """
    if not SLUG.fullmatch(slug):
        raise RequestError(
            "Not an org slug: 3 to 50 lowercase letters, digits and underscores, "
            "beginning and ending with a letter or digit",
            org_slug=slug[:60],
        )
    return slug


def new_org_key(slug: str) -> str:
    """Create a key for an org: `{slug}_api_` and 16 random base62 characters."""
    secret = "".join(secrets.choice(_BASE62) for _ in range(_SECRET_CHARS))
    return f"{check_slug(slug)}{_MARK}{secret}"


def split_org_key(key: str) -> str:
    """Return the slug in a key; only the key's digest proves that it belongs to it.

    A slug may hold `_api_` itself, the random part may not: the last one splits.

    Raises:
        NotAuthenticatedError: the key is malformed. Nothing of it is in the error.
    """
    slug, mark, secret = key[: _MAX_KEY_CHARS + 1].rpartition(_MARK)
    if not (mark and SLUG.fullmatch(slug) and _SECRET.fullmatch(secret)):
        raise NotAuthenticatedError("The API key is malformed")
    return slug


def compute_digest(key: str) -> str:
    """Return the SHA-256 of a key in hex, for storage and look-up.

    A fast hash suffices, since the random part can't be guessed; a slow one would let anyone
    exhaust the API with wrong keys.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def compare_digests(one: str, other: str) -> bool:
    """Compare two hex digests in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def last_four(key: str) -> str:
    """Return the last four characters, so that a person can distinguish keys."""
    return key[-4:]
