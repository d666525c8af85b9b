"""Mask secrets in text: by their shape, and by value for secrets that were registered."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import traceback
from collections import OrderedDict
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "[redacted]"
MIN_SECRET_CHARS: Final = 6
"""A shorter value is not registered: it would mask ordinary words."""
MAX_SECRETS: Final = 512
"""The least recently registered goes first; shapes still catch it."""

_PATTERNS: Final = (
    # PEM private keys, also with JSON's \n, also cut off before the end marker.
    (
        r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)",
        MASK,
        re.DOTALL,
    ),
    # Our own org keys; the slug may stay.
    (r"_api_[0-9A-Za-z]{16,}", f"_api_{MASK}", 0),
    # OpenAI, Anthropic, DeepSeek and others that follow them.
    (r"(?<![0-9A-Za-z])sk-[0-9A-Za-z_-]{8,}", f"sk-{MASK}", 0),
    # AWS access key ids, permanent and temporary, and named AWS secrets.
    (r"(?<![0-9A-Z])(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Z])", MASK, 0),
    (
        r"(aws_?(?:secret_?access_?key|session_?token)[\"']?\s*[:=]\s*[\"']?)[0-9A-Za-z/+=]{16,}",
        rf"\1{MASK}",
        re.IGNORECASE,
    ),
    # Google access tokens and API keys.
    (r"ya29\.[0-9A-Za-z._-]{8,}", MASK, 0),
    (r"(?<![0-9A-Za-z])AIza[0-9A-Za-z_-]{35}", MASK, 0),
    # JSON web tokens.
    (r"eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{4,}\.[0-9A-Za-z_-]*", MASK, 0),
    # Header values, as headers, dict reprs or JSON.
    (r"\b(bearer|basic)(\s+)[0-9A-Za-z._~+/=-]{8,}", rf"\1\2{MASK}", re.IGNORECASE),
    (
        r"\b(x-api-key|x-ca-root-key|x-admin-key|x-goog-api-key)([\"']?\s*[:=,]\s*b?[\"']?)[^\s\"',;}]{4,}",
        rf"\1\2{MASK}",
        re.IGNORECASE,
    ),
    # Passwords in URLs.
    (r"(://[^/\s:@]*:)[^/\s@]+(@)", rf"\1{MASK}\2", 0),
)
_COMPILED: Final = tuple(
    (re.compile(shape, flags), replacement) for shape, replacement, flags in _PATTERNS
)

_registered: OrderedDict[str, tuple[str, ...]] = OrderedDict()
_lock = threading.Lock()


def register_secret(value: str) -> None:
    """Mask this value from now on, in every form that `redact` may meet it in.

    Forms: as it is, URL-encoded, JSON- or repr-escaped, in hex, and in base64 by itself or
    anywhere inside a longer encoded text.
    """
    if len(value) < MIN_SECRET_CHARS:
        return
    with _lock:
        _registered[value] = _list_forms(value)
        _registered.move_to_end(value)
        while len(_registered) > MAX_SECRETS:
            _registered.popitem(last=False)


def redact(text: str) -> str:
    """Mask every known or recognisable secret in a text; a second call changes nothing."""
    with _lock:
        known = list(_registered.values())
    for forms in known:
        for form in forms:
            if form in text:
                text = text.replace(form, MASK)
    for pattern, replacement in _COMPILED:
        text = pattern.sub(replacement, text)
    return text


class RedactingFilter(logging.Filter):
    """Masks a record's message, arguments, exception text, stack and extra fields.

    Put it on handlers: a logger's own filters don't see its children's records.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the record and return True."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # arguments that don't fit their format
            message = f"{record.msg} {record.args}"
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        # A later formatter would render the exception again, unmasked.
        record.exc_info = None
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in vars(record).items():
            if name not in _STANDARD and not isinstance(value, int | float | bool | None):
                setattr(record, name, _mask_value(value))
        return True


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _mask_value(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    shown = repr(value)
    clean = redact(shown)
    return value if clean == shown else clean


def _list_forms(value: str) -> tuple[str, ...]:
    raw = value.encode("utf-8", "surrogatepass")
    forms = {
        value,
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        raw.hex(),
        raw.hex().upper(),
    }
    for shift in range(3):
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(_base64_core(encoded(b"\0" * shift + raw).decode(), raw, shift))
    return tuple(sorted((form for form in forms if len(form) >= MIN_SECRET_CHARS), key=len)[::-1])


def _base64_core(encoded: str, raw: bytes, shift: int) -> str:
    """Return the characters that only the secret determines, `shift` bytes into a group.

    Three bytes are four characters: those that share bits with a neighbour's byte can differ.
    """
    first = -(-shift * 8 // 6)
    last = (shift + len(raw)) * 8 // 6
    return encoded[first:last]
