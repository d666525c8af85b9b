"""Deadlines on a monotonic clock, for requests, pages and runs alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on `clock` after which no one waits any longer."""

    at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, *, clock: Clock = time.monotonic) -> Deadline:
        """`seconds` from now."""
        return cls(clock() + seconds, clock)

    def left(self) -> float:
        """Seconds until it; negative once it has passed."""
        return self.at - self.clock()

    def passed(self) -> bool:
        """Whether it lies in the past."""
        return self.left() <= 0

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)
