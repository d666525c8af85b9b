"""Recorded answers over HTTP: a server that knows pages by path and page token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

Pages = Mapping[str, list[Path]]
"""Path → its pages, first to last; each names the next by the token in `next_page`."""


@contextmanager
def recorded(pages: Pages) -> Iterator[str]:
    """The base URL of a server that answers with these files, byte by byte."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            token = parse_qs(asked.query).get("page", [None])[0]
            body = _read_page(pages.get(asked.path, []), token)
            self.send_response(404 if body is None else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body or b"{}")))
            self.end_headers()
            self.wfile.write(body or b"{}")

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _read_page(files: list[Path], token: str | None) -> bytes | None:
    """The first page, or the one that the token of the page before leads to."""
    before = None
    for file in files:
        if token == before:
            return file.read_bytes()
        before = json.loads(file.read_bytes()).get("next_page")
    return None
