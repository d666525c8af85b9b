"""Messages that were delivered to a stand-in, kept as lines of JSON until they are cleared."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Kept:
    """A file of messages, oldest first; it outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, message: dict[str, Any]) -> None:
        """Keep a message, with when it came."""
        line = json.dumps({"received_at": datetime.now(UTC).isoformat(), **message})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def all(self) -> list[dict[str, Any]]:
        """Return every message; a last line that a kill cut off is none."""
        with self._lock:
            text = self._path.read_text(encoding="utf-8") if self._path.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._path.unlink(missing_ok=True)
