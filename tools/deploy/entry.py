"""`python -m deploy.entry COMMAND…`: start the command of a container.

In production it becomes the command. The product reaches a sandbox on its own loopback only, so in
development, where `SANDBOX_FORWARD` names the sandbox's host, its ports are forwarded from there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from deploy.settings import EntrySettings

SANDBOX_PORTS = (9050, 9060, 9070, 9080)
CHUNK_BYTES = 64 * 1024


def main(command: Sequence[str]) -> int:
    """Run the command.

    Returns:
        Its exit code, where this process had to stay next to it.
    """
    host = EntrySettings().sandbox_forward
    if host is None:
        os.execvp(command[0], list(command))  # noqa: S606 - the container's own command
    return asyncio.run(run_with_forwards(command, host=host, ports=SANDBOX_PORTS))


async def run_with_forwards(
    command: Sequence[str], *, host: str, ports: Sequence[int], to_ports: Sequence[int] = ()
) -> int:
    """Forward loopback's `ports` to the same of `host` while the command runs.

    Returns:
        The command's exit code, 128 and its signal where one ended it.
    """
    servers = [
        await asyncio.start_server(partial(_forward, host, target), "127.0.0.1", port)
        for port, target in zip(ports, to_ports or ports, strict=True)
    ]
    try:
        process = await asyncio.create_subprocess_exec(*command)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.terminate)
        code = await process.wait()
    finally:
        for server in servers:
            server.close()
    return code if code >= 0 else 128 - code


async def _forward(
    host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        far_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # The end of one direction is passed on; the other may go on.
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
