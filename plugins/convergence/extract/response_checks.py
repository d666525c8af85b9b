"""Reject responses that no table can hold or that no log may show, and name the field.

A response with such a value is damaged or hostile: its day is not published, and the response goes
to quarantine. The checks look at the bytes first, so a sound page costs a few scans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from convergence.errors import ProviderProtocolError, ShapeChangedError
from convergence.extract.strict_json import Json

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
"""What BigQuery's INT64 and JSON hold exactly between them."""
MIN_SECRET_CHARS: Final = 8
"""A shorter credential is not searched for: it would be found in ordinary text."""
MAX_PATH_CHARS: Final = 200
_NUL: Final = b"\\u0000"
_DIGITS_AS_ZERO: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_INTEGER: Final = b"0" * 19
Place = tuple[str, Json]


def check_response(body: bytes, parsed: Json, *, secrets: Sequence[str] = ()) -> None:
    """Check a response's values.

    Args:
        body: the response.
        parsed: its JSON.
        secrets: credentials of the request, which a response must not repeat.

    Raises:
        ShapeChangedError: an integer is out of range, or a text has a NUL character.
        ProviderProtocolError: the response repeats the credential.
    """
    sought = [one for one in secrets if len(one) >= MIN_SECRET_CHARS]
    if any(one.encode() in body for one in sought):
        _reject_credential(parsed, sought)
    if _NUL in body:
        _reject_nul(parsed)
    if _LONG_INTEGER in body.translate(_DIGITS_AS_ZERO):
        _reject_large_integers(parsed)


def remove_credential_from_links(body: bytes, params: Sequence[tuple[str, str]]) -> bytes:
    """Return a response without the credential that its links repeat from the request's query.

    A list whose next page is a URL often repeats the whole query of the request. The credential is
    added to every request anyway, and the response may be kept.

    Args:
        body: the response.
        params: the query parameters that hold the credential.
    """
    for name, value in params:
        pair = f"{re.escape(name)}={re.escape(quote(value, safe=''))}".encode()
        body = re.sub(
            rb"&" + pair + rb"(?=[&\"#])|(?<=[?])" + pair + rb"(?:&|(?=[\"#]))", b"", body
        )
    return body


def _reject_credential(parsed: Json, secrets: Sequence[str]) -> None:
    for path, value in _walk(parsed):
        if isinstance(value, str) and any(one in value for one in secrets):
            raise ProviderProtocolError("The response repeats the credential", field=path)


def _reject_nul(parsed: Json) -> None:
    for path, value in _walk(parsed):
        if isinstance(value, str) and "\x00" in value:
            raise ShapeChangedError("A text has a NUL character", field=path)


def _reject_large_integers(parsed: Json) -> None:
    for path, value in _walk(parsed):
        if type(value) is int and not MIN_INTEGER <= value <= MAX_INTEGER:
            raise ShapeChangedError("An integer is out of range", field=path)


def _walk(parsed: Json) -> Iterator[Place]:
    """Yield every name and value with its dotted path.

    Items of a list have the path of the list, names have the path of their object: a path never
    shows a name that was not yielded before.
    """
    pending: list[Place] = [("", parsed)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            for name, inner in value.items():
                yield path, name
                pending.append((_printable(f"{path}.{name}" if path else name), inner))
        elif isinstance(value, list):
            pending.extend((path, inner) for inner in value)
        else:
            yield path, value


def _printable(path: str) -> str:
    """Return a path that an error may show, even if a name of the response is hostile."""
    return "".join(one if one.isprintable() else "?" for one in path[:MAX_PATH_CHARS])
