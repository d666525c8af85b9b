"""The current time of the providers; tests can set it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path


class Clock:
    """The machine's time, or the one it was set to, which outlives a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def now(self) -> datetime:
        """Return the present, UTC."""
        if self._path.exists():
            return datetime.fromisoformat(self._path.read_text(encoding="ascii"))
        return datetime.now(UTC)

    def set(self, now: datetime) -> None:
        """Stand still at a time; raises ValueError when it has no zone."""
        if now.tzinfo is None:
            raise ValueError("no zone")
        fresh = self._path.with_suffix(".new")
        fresh.write_text(now.astimezone(UTC).isoformat(), encoding="ascii")
        fresh.replace(self._path)

    def free(self) -> None:
        """Go with the machine again."""
        self._path.unlink(missing_ok=True)
