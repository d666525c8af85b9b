"""Deadlines on a monotonic clock, for requests, pages and runs alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time on `clock` at which waiting ends."""

    at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, seconds: float, *, clock: Clock = time.monotonic) -> Deadline:
        """Return the deadline in `seconds` from now."""
        return cls(clock() + seconds, clock)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline; negative after it."""
        return self.at - self.clock()

    def has_passed(self) -> bool:
        """Return whether the deadline is in the past."""
        return self.seconds_left() <= 0

    def within(self, seconds: float) -> Deadline:
        """Return the earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at, self.clock() + seconds), self.clock)
