"""One stack per state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Self

from stack.errors import StackError


class StateLock:
    """An advisory lock on a state directory; the kernel drops it when its holder dies."""

    def __init__(self, var_dir: Path) -> None:
        self._path = var_dir / "stack.lock"

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Python's descriptors are not inherited by children, so the lock dies with this process.
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            message = (
                f"a stack already runs on {self._path.parent} (process {holder}); "
                "stop it first, or set CONVERGENCE_VAR_DIR and the ports for a second one"
            )
            raise StackError(message) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.truncate(0)
        self._file.close()
