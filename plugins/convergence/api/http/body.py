"""Request bodies: JSON only, limited in bytes and depth, and unambiguous."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


class StrictRequest(Request):
    """A request with a bounded and unambiguous JSON body."""

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            HTTPException: 413 above `MAX_BYTES`.
        """
        if not hasattr(self, "_body"):
            read = bytearray()
            async for chunk in self.stream():
                read += chunk
                if len(read) > MAX_BYTES:
                    raise HTTPException(413, f"A body may have at most {MAX_BYTES} bytes.")
            self._body = bytes(read)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - Starlette's signature
        """Return the body as JSON.

        Raises:
            HTTPException: 400 when it is malformed, too deep, or has a duplicate field.
        """
        if not hasattr(self, "_json"):
            self._json = parse_body(await self.body())
        return self._json


def check_media_type(content_type: str | None) -> None:
    """Reject every media type except JSON in UTF-8.

    Raises:
        HTTPException: 415 for any other media type.
    """
    message = Message()
    message["content-type"] = content_type or ""
    charset = str(message.get_param("charset", "utf-8")).lower()
    if message.get_content_type() != "application/json" or charset not in {"utf-8", "utf8"}:
        raise HTTPException(415, "Send the body as application/json in UTF-8.")


def parse_body(raw: bytes) -> object:
    """Parse strictly: UTF-8, no NaN, no duplicate field, no NUL or lone surrogate, bounded depth.

    Raises:
        HTTPException: 400 with the reason.
    """
    try:
        document: object = json.loads(
            raw.decode(), parse_constant=_reject_constant, object_pairs_hook=_build_object
        )
        _check_value(document, depth=1)
    except RecursionError:
        raise HTTPException(400, "The body is nested too deeply.") from None
    except UnicodeDecodeError:
        raise HTTPException(400, "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: {error.msg} at character {error.pos}."
        raise HTTPException(400, message) from None
    except ValueError as error:
        raise HTTPException(400, f"The body can't be accepted: {error}.") from None
    return document


def _reject_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("it has a duplicate field")
    return document


def _check_value(value: object, *, depth: int) -> None:
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise ValueError("a text contains a character that can't be stored")
        return
    if isinstance(value, dict | list):
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            for key in value:
                _check_value(key, depth=depth)
            value = list(value.values())
        for item in value:
            _check_value(item, depth=depth + 1)
