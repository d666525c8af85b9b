"""How fast we ask: one allowance per (org, provider, host), shared by all who ask.

With Redis the allowance is shared between processes and machines; an allowance in memory would
give every task the full rate, so it is for a single process. The `limits` library keeps a moving
window, which lets through what a token bucket of the same rate and size would over any window.
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

_LONGEST_NAP = 1.0


@dataclass(frozen=True, slots=True)
class RequestRate:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: int = 1


class Allowance:
    """Waits for its turn before each request, never beyond the deadline."""

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
        """Take one request out of the allowance, waiting if need be.

        Raises:
            ProviderUnavailableError: the deadline comes before the turn.
        """
        while not self._limiter.hit(self._item, *self._key):
            pause = self._until_free()
            if pause >= deadline.left():
                raise ProviderUnavailableError(
                    "Our own rate limit leaves no time for this request",
                    provider=self._key[1],
                    retry_after=round(pause, 3),
                )
            self._sleep(pause)

    def _until_free(self) -> float:
        free_at = self._limiter.get_window_stats(self._item, *self._key).reset_time
        # The window's clock may jump: never sleep longer than a second on its word.
        return min(max(free_at - time.time(), 0.005), _LONGEST_NAP)


@lru_cache(maxsize=8)
def _limiter(storage_url: str) -> RateLimiter:
    return MovingWindowRateLimiter(storage_from_string(storage_url))
