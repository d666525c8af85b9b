"""How each fault is acted out towards the client, below the framework where it must be."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

from starlette.types import Message, Receive, Scope, Send

from convergence_sandbox.providers.bodies import END_TOKEN, HTML, spoil
from convergence_sandbox.providers.faults import CONTENT, PAGING, SILENT, Fault
from convergence_sandbox.providers.provider import PageDialect, to_json

_MIB = 1024 * 1024
Headers = list[tuple[bytes, bytes]]


@dataclass
class RecordedResponse:
    """A whole response of the API, held back so that a fault can change it."""

    status: int = 500
    headers: Headers | None = None
    body: bytes = b""

    async def collect(self, message: Message) -> None:
        """An ASGI `send` that keeps instead of sending."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")


@dataclass(frozen=True)
class Exchange:
    """One struck request: what the API would have said, and the line to the client."""

    scope: Scope
    receive: Receive
    send: Send
    fault: Fault
    response: RecordedResponse
    dialect: PageDialect
    token: str | None

    async def say(
        self, status: int, body: bytes, *, headers: Headers | None = None, kind: str = "json"
    ) -> int:
        """Send a complete response."""
        media = b"text/html; charset=utf-8" if kind == "html" else b"application/json"
        length = str(len(body)).encode()
        every = [(b"content-type", media), (b"content-length", length), *(headers or [])]
        await self.send({"type": "http.response.start", "status": status, "headers": every})
        await self.send({"type": "http.response.body", "body": body})
        return status

    async def stream(self, chunks: AsyncIterator[bytes], *, headers: Headers) -> int:
        """Send a response of unknown length until it ends or the client has gone."""
        every = [(b"content-type", b"application/json"), *headers]
        await self.send({"type": "http.response.start", "status": 200, "headers": every})
        gone = asyncio.create_task(_disconnected(self.receive))
        try:
            async for chunk in chunks:
                if gone.done():
                    break
                await self.send({"type": "http.response.body", "body": chunk, "more_body": True})
            await self.send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
        return 200


async def act(kind: str, exchange: Exchange) -> int:
    """Apply a fault of this kind; return the status that was sent, 0 for none."""
    if kind in CONTENT | PAGING | SILENT:
        return await _content(kind, exchange)
    return await _ACTIONS[kind](exchange)


async def response_end_page(exchange: Exchange) -> int:
    """Return what lies behind a cursor at the end: an empty last page."""
    page: dict[str, object] = {exchange.dialect.items: []}
    if exchange.dialect.more is not None:
        page[exchange.dialect.more] = False
    return await exchange.say(200, to_json(page))


def asks_for_end_page(exchange: Exchange) -> bool:
    """Return whether a request follows a cursor that a fault put at the end."""
    return exchange.token == END_TOKEN


async def _content(kind: str, exchange: Exchange) -> int:
    response = exchange.response
    if response.status != HTTPStatus.OK:
        return await exchange.say(response.status, response.body)
    body = spoil(
        kind,
        response.body,
        fault=exchange.fault,
        dialect=exchange.dialect,
        token=exchange.token,
    )
    headers = _link_header(kind, exchange) if exchange.dialect.link_header else []
    media = "html" if kind == "html" else "json"
    return await exchange.say(200, body, headers=headers, kind=media)


def _link_header(kind: str, exchange: Exchange) -> Headers:
    """Return the `Link` header of the intact response, or the broken one of the fault."""
    links = [value for name, value in exchange.response.headers or [] if name == b"link"]
    if kind == "missing_page":
        return []
    if kind == "foreign_link":
        location = str(exchange.fault.options.get("location", "http://127.0.0.1:9/"))
        return [(b"link", f'<{location}>; rel="next"'.encode())]
    if kind == "loop" and links:
        links = [exchange.fault.state.setdefault("link", links[0].decode()).encode()]
    return [(b"link", link) for link in links]


async def _hang(exchange: Exchange) -> int:
    await _disconnected(exchange.receive)
    return 0


async def _reset(exchange: Exchange) -> int:
    """Return an RST instead of a response: a socket closed with linger zero."""
    transport = _transport(exchange.send)
    line = transport.get_extra_info("socket")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    return 0


async def _truncated(exchange: Exchange) -> int:
    body = exchange.response.body
    headers = [(b"content-length", str(len(body)).encode())]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    await exchange.send(start)
    half = body[: len(body) // 2]
    await exchange.send({"type": "http.response.body", "body": half, "more_body": True})
    _transport(exchange.send).close()
    return 200


async def _drip(exchange: Exchange) -> int:
    rate = float(exchange.fault.options.get("rate", 400))

    async def drops() -> AsyncIterator[bytes]:
        for index in range(len(exchange.response.body)):
            yield exchange.response.body[index : index + 1]
            await asyncio.sleep(1 / rate)

    return await exchange.stream(drops(), headers=[])


async def _oversized(exchange: Exchange) -> int:
    size = int(exchange.fault.options.get("size", 48 * _MIB))

    async def flood() -> AsyncIterator[bytes]:
        yield b'{"data":"'
        for _ in range(size // _MIB):
            yield b"x" * _MIB
        yield b'"}'

    return await exchange.stream(flood(), headers=[])


async def _gzip_bomb(exchange: Exchange) -> int:
    size = int(exchange.fault.options.get("size", 256 * _MIB))
    return await exchange.say(200, _bomb(size), headers=[(b"content-encoding", b"gzip")])


async def _truncated_gzip(exchange: Exchange) -> int:
    """Whole by its length, cut by its content."""
    packed = gzip.compress(exchange.response.body, mtime=0)[:-20]
    return await exchange.say(200, packed, headers=[(b"content-encoding", b"gzip")])


async def _rate_limited(exchange: Exchange) -> int:
    retry_after = exchange.fault.options.get("retry_after")
    headers = [] if retry_after is None else [(b"retry-after", str(retry_after).encode())]
    return await exchange.say(
        429, _encode_error("Rate limit reached.", "requests"), headers=headers
    )


async def _status(exchange: Exchange) -> int:
    status = int(exchange.fault.options.get("status", 500))
    if status == HTTPStatus.BAD_GATEWAY:
        return await exchange.say(status, HTML, kind="html")
    return await exchange.say(status, _encode_error("The server had an error.", "server_error"))


async def _unauthorized(exchange: Exchange) -> int:
    return await exchange.say(401, _encode_error("The key was revoked.", "invalid_request_error"))


async def _redirect(exchange: Exchange) -> int:
    location = str(exchange.fault.options.get("location", "http://127.0.0.1:9/"))
    status = int(exchange.fault.options.get("status", 302))
    return await exchange.say(status, b"{}", headers=[(b"location", location.encode())])


_ACTIONS: dict[str, Callable[[Exchange], Awaitable[int]]] = {
    "hang": _hang,
    "reset": _reset,
    "truncated": _truncated,
    "drip": _drip,
    "oversized": _oversized,
    "gzip_bomb": _gzip_bomb,
    "truncated_gzip": _truncated_gzip,
    "rate_limited": _rate_limited,
    "status": _status,
    "unauthorized": _unauthorized,
    "redirect": _redirect,
}


def _encode_error(message: str, kind: str) -> bytes:
    payload = {"message": message, "type": kind, "param": None, "code": None}
    return json.dumps({"error": payload}).encode()


@lru_cache(maxsize=2)
def _bomb(size: int) -> bytes:
    """A gzip file of about a thousandth of `size`, which unpacks to a JSON string of `size`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [packer.compress(b'{"data":"')]
    block = b" " * _MIB
    parts += [packer.compress(block) for _ in range(size // _MIB)]
    return b"".join([*parts, packer.compress(b'"}'), packer.flush()])


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(send: Send) -> asyncio.WriteTransport:
    """Return the connection below: uvicorn's `send` is a method of the object that holds it."""
    transport: asyncio.WriteTransport = send.__self__.transport  # type: ignore[attr-defined]
    return transport
