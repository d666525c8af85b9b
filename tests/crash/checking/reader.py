"""A reader while others write: each read of a day must return one complete version of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import requests
from google.api_core.exceptions import GoogleAPIError

from crash.checking import content
from crash.checking.content import Day, Rows
from crash.platform import Platform
from crash.processes import Pipe

PAUSE_SECONDS = 0.1
PAUSE_SHARE = 3
"""And so many times as long as reading took: on a loaded machine all else is slower too."""
Versions = dict[tuple[str, Day], list[Rows]]
"""(table, day) → each content that is complete; the empty day is one, before the first."""


def watch(platform: Platform, org: str, versions: Versions) -> Callable[[Pipe], None]:
    """Read, compare and report what is wrong, in a separate process until it is killed."""

    def main(pipe: Pipe) -> None:
        client = platform.services().warehouse.client
        dataset = platform.dataset(org)
        tables = sorted({table for table, _ in versions})
        while True:
            for table in tables:
                began = time.monotonic()
                try:
                    found = content.read(client, dataset, table)
                except (GoogleAPIError, requests.RequestException, OSError):
                    continue  # the warehouse is down: nobody reads
                finally:
                    time.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * (time.monotonic() - began)))
                pipe.send(read=table)
                for (name, day), known in versions.items():
                    if name == table:
                        wrong = content.classify(table, day, found.get(day, content.EMPTY), known)
                        if wrong is not None:
                            pipe.send(wrong=str(wrong), verdict=wrong.verdict)

    return main
