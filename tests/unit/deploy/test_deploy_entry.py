from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from deploy.entry import run_with_forwards
from stack import guarded

TOOLS = Path(__file__).resolve().parents[3] / "tools"
ASKS = "import socket; s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'ping'); \
s.shutdown(1); assert s.recv(99) == b'PING'"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(("script", "code"), [(ASKS, 0), ("raise SystemExit(7)", 7)])
def test_a_command_reaches_the_sandbox_on_its_own_loopback(script: str, code: int) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        await writer.drain()
        writer.close()

    async def scene() -> int:
        far = await asyncio.start_server(shout, "127.0.0.1", 0)
        near, target = _free_port(), far.sockets[0].getsockname()[1]
        command = [sys.executable, "-c", script.replace("{port}", str(near))]
        async with far:
            return await run_with_forwards(
                command, host="127.0.0.1", ports=[near], to_ports=[target]
            )

    assert asyncio.run(scene()) == code


def test_without_a_sandbox_the_container_is_the_command() -> None:
    code = "import os, sys; print(os.getpid() == int(sys.argv[1]), sys.argv[2:])"
    script = f"""exec {sys.executable} -m deploy.entry {sys.executable} -c '{code}' $$ a "b c" """
    env = {name: value for name, value in os.environ.items() if name != "SANDBOX_FORWARD"}
    told = guarded.run(["sh", "-c", script], env=env | {"PYTHONPATH": str(TOOLS)}, timeout=110)
    assert told.stdout.strip() == "True ['a', 'b c']", told.stderr
