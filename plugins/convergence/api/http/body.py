"""Request bodies: capped in bytes and depth, JSON only, nothing ambiguous in them."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


class StrictRequest(Request):
    """A request whose body can neither exhaust us nor be read in two ways."""

    async def body(self) -> bytes:
        """The body.

        Raises:
            HTTPException: 413 above `MAX_BYTES`.
        """
        if not hasattr(self, "_body"):
            read = bytearray()
            async for chunk in self.stream():
                read += chunk
                if len(read) > MAX_BYTES:
                    raise HTTPException(413, f"A body may have {MAX_BYTES} bytes at most.")
            self._body = bytes(read)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - Starlette's signature
        """The body as JSON.

        Raises:
            HTTPException: 400 when it is malformed, too deep, or names a key twice.
        """
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


def check_media_type(content_type: str | None) -> None:
    """Refuse what is not JSON in UTF-8.

    Raises:
        HTTPException: 415.
    """
    message = Message()
    message["content-type"] = content_type or ""
    charset = str(message.get_param("charset", "utf-8")).lower()
    if message.get_content_type() != "application/json" or charset not in {"utf-8", "utf8"}:
        raise HTTPException(415, "Send the body as application/json in UTF-8.")


def parse(raw: bytes) -> object:
    """Parse strictly: UTF-8, no NaN, no key twice, no NUL or lone surrogate, bounded depth.

    Raises:
        HTTPException: 400, naming the fault.
    """
    try:
        document: object = json.loads(
            raw.decode(), parse_constant=_no_constant, object_pairs_hook=_unique
        )
        _check(document, depth=1)
    except RecursionError:
        raise HTTPException(400, "The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise HTTPException(400, "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        told = f"The body is not JSON: {error.msg} at character {error.pos}."
        raise HTTPException(400, told) from None
    except ValueError as error:
        raise HTTPException(400, f"The body can't be accepted: {error}.") from None
    return document


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a field is named twice")
    return document


def _check(value: object, *, depth: int) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("a text holds a character that can't be stored")
        return
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key in value:
                _check(key, depth=depth)
            value = list(value.values())
        for item in value:
            _check(item, depth=depth + 1)
