"""The sandbox's provider app behind a switch: which usage an org's key opens.

The sandbox derives usage from the key. Here a key names an org, and the version that is set for
the org decides what the sandbox sees: figures change for everybody at one moment, as in life.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

KEY_PREFIX = "sk-admin-sandbox-"
SEED_PREFIX = "crash-usage-"


class Switched:
    """Rewrites the key of each request to that of the org's version."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._versions: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve `POST /_crash/{org}/{version}`, or the provider."""
        if scope["type"] == "http" and scope["path"].startswith("/_crash/"):
            _, _, org, version = scope["path"].split("/")
            self._versions[org] = version
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] == "http":
            scope = {**scope, "headers": [self._header(*pair) for pair in scope["headers"]]}
        await self._app(scope, receive, send)

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name != b"authorization":
            return name, value
        org = value.decode().rpartition(KEY_PREFIX)[2]
        return name, f"Bearer {KEY_PREFIX}{SEED_PREFIX}{self._versions[org]}".encode()


def serve(data_dir: Path) -> None:
    """Serve on a free port until the process ends."""
    from convergence_sandbox.providers.app import create_app

    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    line.bind(("127.0.0.1", 0))
    line.listen(512)
    print(json.dumps({"url": f"http://127.0.0.1:{line.getsockname()[1]}"}), flush=True)
    app = Switched(create_app(data_dir))
    config = uvicorn.Config(app, access_log=False, lifespan="off", log_config=None)
    asyncio.run(uvicorn.Server(config).serve(sockets=[line]))
