"""Limit the rate of requests: one allowance per (org, provider, host) for all callers.

With Redis, processes and machines share the allowance. An allowance in memory is for a single
process, since every task would otherwise get the full rate. The `limits` library uses a moving
window, which in any window allows as much as a token bucket of the same rate and size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from limits import RateLimitItemPerSecond
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter, RateLimiter

from convergence.errors import ProviderUnavailableError
from convergence.extract.clock import Deadline

_MAX_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class RequestRate:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: int = 1


class Allowance:
    """Wait before each request until the rate allows it, never beyond the deadline."""

    def __init__(
        self,
        rate: RequestRate,
        *,
        org_slug: str,
        provider: str,
        host: str,
        storage_url: str = "memory://",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._item = RateLimitItemPerSecond(rate.requests, rate.seconds, namespace="extract")
        self._key = (org_slug, provider, host)
        self._limiter = _limiter(storage_url)
        self._sleep = sleep

    def acquire(self, *, deadline: Deadline) -> None:
        """Wait until the rate allows one request, and count it.

        Raises:
            ProviderUnavailableError: the rate allows no request before the deadline.
        """
        while not self._limiter.hit(self._item, *self._key):
            pause = self._seconds_until_free()
            if pause >= deadline.seconds_left():
                raise ProviderUnavailableError(
                    "Our own rate limit leaves no time for this request",
                    provider=self._key[1],
                    retry_after=round(pause, 3),
                )
            self._sleep(pause)

    def _seconds_until_free(self) -> float:
        free_at = self._limiter.get_window_stats(self._item, *self._key).reset_time
        # The window uses the wall clock, which may jump: never sleep longer than a second.
        return min(max(free_at - time.time(), 0.005), _MAX_PAUSE)


@lru_cache(maxsize=8)
def _limiter(storage_url: str) -> RateLimiter:
    return MovingWindowRateLimiter(storage_from_string(storage_url))
