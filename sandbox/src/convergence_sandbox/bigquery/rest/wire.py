"""BigQuery's JSON on the wire: bodies, errors, etags, page tokens, booleans in query strings.

Shapes follow the REST reference, https://cloud.google.com/bigquery/docs/reference/rest/v2.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from convergence_sandbox.bigquery.errors import BigQueryError, invalid, not_implemented

Json = dict[str, Any]

MAX_BODY_BYTES = 64 * 1024 * 1024

# google.rpc.Code names that accompany each HTTP status in a Google error body.
STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
}


def reply(content: Mapping[str, Any] | None = None, *, status: int = 200) -> Response:
    """Return a JSON response; no body at all when there is no content, as for deletes."""
    if content is None:
        return Response(status_code=204)
    body = json.dumps(content, separators=(",", ":"), ensure_ascii=False, default=_encode)
    return Response(body.encode(), status_code=status, media_type="application/json")


def _encode(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def error_reply(error: BigQueryError) -> Response:
    """Return the body that every Google API gives for an error."""
    entry: Json = error.to_rest() | {"domain": "global"}
    if error.location is not None:
        entry["locationType"] = "other"
    return reply(
        {
            "error": {
                "code": error.status,
                "message": error.message,
                "errors": [entry],
                "status": STATUS_NAMES.get(error.status, "UNKNOWN"),
            }
        },
        status=error.status,
    )


async def body_json(request: Request) -> Json:
    """Return the request's JSON object, gzip undone; numbers with a point stay exact as Decimal."""
    raw = await request.body()
    if "gzip" in request.headers.get("content-encoding", ""):
        raw = gunzip(raw)
    return parse_object(raw) if raw else {}


def gunzip(raw: bytes) -> bytes:
    """Return the plain bytes.

    Raises:
        BigQueryError: 400 when they are no gzip, 413 when they grow over the limit.
    """
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = unzip.decompress(raw, MAX_BODY_BYTES)
    except zlib.error as exc:
        raise invalid(f"The request body is not valid gzip: {exc}") from exc
    if unzip.unconsumed_tail:
        raise too_large()
    return plain


def parse_object(raw: bytes) -> Json:
    """Return one JSON object.

    Raises:
        BigQueryError: 400 `parseError`, the reason BigQuery gives for a broken body.
    """
    try:
        value = json.loads(raw, parse_float=Decimal)
    except (ValueError, RecursionError) as exc:
        raise _unparsable(str(exc)) from exc
    if not isinstance(value, dict):
        raise _unparsable("Not an object.")
    return value


def _unparsable(why: str) -> BigQueryError:
    return BigQueryError(f"Invalid JSON payload received. {why}", status=400, reason="parseError")


def too_large() -> BigQueryError:
    """Return a body or media over the limit: 413 `uploadTooLarge`."""
    return BigQueryError("The upload is too large.", status=413, reason="uploadTooLarge")


def reject_unknown(body: Mapping[str, Any], known: Iterable[str], *, where: str) -> None:
    """Raise 501 naming the first fields of `body` that this server would otherwise ignore."""
    unknown = sorted(set(body) - set(known))
    if unknown:
        raise not_implemented(", ".join(f"{where}.{name}" if where else name for name in unknown))


def as_object(value: object, *, name: str) -> Json:
    """Return a JSON object, empty when absent.

    Raises:
        BigQueryError: 400 when it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at {name}: not an object.", location=name)
    return value


def flag(request: Request, name: str) -> bool:
    """Return a boolean of the query string; the client writes `True` or `true`."""
    return request.query_params.get(name, "").lower() in {"true", "1"}


def count(request: Request, name: str) -> int | None:
    """Return a non-negative number of the query string, or None."""
    return as_count(request.query_params.get(name), name=name)


def as_count(value: object, *, name: str) -> int | None:
    """`value` as a non-negative whole number; BigQuery's JSON writes int64 as text."""
    if value is None or value == "":
        return None
    text = str(value)
    if not (text.isascii() and text.isdecimal()):
        raise invalid(f"Invalid value for {name}: {text!r} is not a non-negative integer.")
    return int(text)


def make_token(**position: int | str) -> str:
    """Return an opaque page token."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def read_token(token: str) -> Json:
    """Return the position inside a token that `make_token` wrote.

    Raises:
        BigQueryError: 400 when it is none of ours.
    """
    try:
        padded = token + "=" * (-len(token) % 4)
        position = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (ValueError, binascii.Error) as exc:
        raise invalid("Invalid value for pageToken.", location="pageToken") from exc
    if not isinstance(position, dict):
        raise invalid("Invalid value for pageToken.", location="pageToken")
    return position


def page_of(items: list[Any], request: Request, *, default: int = 50) -> tuple[list[Any], Json]:
    """Return one page of a listing, and the `nextPageToken` entry when more follow."""
    token = request.query_params.get("pageToken")
    start = int(read_token(token).get("start", 0)) if token else 0
    size = count(request, "maxResults") or default
    rest = {"nextPageToken": make_token(start=start + size)} if start + size < len(items) else {}
    return items[start : start + size], rest


def with_etag(resource: Json) -> Json:
    """Return the resource with an etag made from its content."""
    digest = hashlib.sha256(json.dumps(resource, sort_keys=True, default=str).encode()).digest()
    return resource | {"etag": base64.b64encode(digest[:16]).decode()}


def check_etag(request: Request, resource: Json) -> None:
    """Honour `If-Match`.

    Raises:
        BigQueryError: 412 when the resource has changed since the caller read it.
    """
    etag = request.headers.get("if-match")
    if etag and etag not in {"*", resource["etag"]}:
        raise BigQueryError(
            "Precondition check failed.", status=412, reason="conditionNotMet", location="If-Match"
        )
