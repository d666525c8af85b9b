"""Errors of starting, running and driving the stack."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """Raised when the stack can't start or go on; `log`, when known, has details."""

    def __init__(self, message: str, *, log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.log = log

    def __str__(self) -> str:
        return self.message

    def log_tail(self, lines: int = 25) -> str:
        """Return the last lines of the log that goes with this error; empty when there is none."""
        if self.log is None or not self.log.is_file():
            return ""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- last lines of {self.log} ---", *text])
