"""Request rates: per org, for all together, and failed authentication per address.

Counters live in Redis where `REDIS_URL` says so, else in this process.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError

from convergence.api.http.context import RequestContext
from convergence.errors import LimitError
from convergence.settings import Settings

log = logging.getLogger(__name__)

# A wrong key costs a lookup. Counted per address and claimed org, so that one customer's stale
# key behind a shared address does not lock out its neighbours; and, higher, per address alone.
FAILED_KEYS_PER_MINUTE = 20
FAILED_ADDRESS_PER_MINUTE = 200


@dataclass(frozen=True)
class _Standing:
    remaining: int
    resets_in: int


class RateLimiter:
    """Counts requests in moving windows of a minute; raises `LimitError` when one is full."""

    def __init__(self, storage: Storage, *, per_org: int, overall: int, enabled: bool) -> None:
        self._window = MovingWindowRateLimiter(storage)
        self._per_org = RateLimitItemPerMinute(per_org, namespace="convergence")
        self._overall = RateLimitItemPerMinute(overall, namespace="convergence")
        self._failed_key = RateLimitItemPerMinute(FAILED_KEYS_PER_MINUTE, namespace="convergence")
        self._failed_address = RateLimitItemPerMinute(
            FAILED_ADDRESS_PER_MINUTE, namespace="convergence"
        )
        self._enabled = enabled

    @classmethod
    def connect(cls, settings: Settings) -> RateLimiter:
        """A limiter with the counters that the settings ask for."""
        url = settings.redis_url.get_secret_value() if settings.redis_url else None
        storage: Storage = (
            RedisStorage(f"async+{url}", implementation="redispy", wrap_exceptions=True)
            if url
            else MemoryStorage()
        )
        return cls(
            storage,
            per_org=settings.rate_limit_requests_per_minute,
            overall=settings.rate_limit_global_requests_per_minute,
            enabled=settings.rate_limit_enabled,
        )

    async def count(self, context: RequestContext) -> None:
        """Count one admitted request against its org and against all.

        Raises:
            LimitError: the window is full.
        """
        if not self._enabled:
            return
        await self._take(self._overall, "overall", told="all requests together")
        org = context.caller.org_slug
        if org is None:
            return
        try:
            await self._take(self._per_org, "org", org, told="requests per minute")
        finally:
            standing = await self._standing(self._per_org, "org", org)
            context.headers |= {
                "RateLimit-Limit": str(self._per_org.amount),
                "RateLimit-Remaining": str(standing.remaining),
                "RateLimit-Reset": str(standing.resets_in),
            }

    async def check_failures(self, address: str, claimed: str) -> None:
        """Refuse to look up a further key where too many were wrong.

        Raises:
            LimitError: before the key is looked at.
        """
        for item, names in self._failure_windows(address, claimed):
            if self._enabled and not await self._allowed(item, *names):
                await self._refuse(item, *names, told="failed authentications per minute")

    async def count_failure(self, address: str, claimed: str) -> None:
        """Count one wrong key."""
        for item, names in self._failure_windows(address, claimed):
            if self._enabled:
                await self._hit(item, *names)

    def _failure_windows(
        self, address: str, claimed: str
    ) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        return [
            (self._failed_key, ("failed", address, claimed)),
            (self._failed_address, ("failed", address)),
        ]

    async def _take(self, item: RateLimitItem, *names: str, told: str) -> None:
        if not await self._hit(item, *names):
            await self._refuse(item, *names, told=told)

    async def _refuse(self, item: RateLimitItem, *names: str, told: str) -> None:
        standing = await self._standing(item, *names)
        raise LimitError(
            f"Too many requests: {told} are limited to {item.amount}.",
            limit=item.amount,
            used=item.amount,
            retry_after=standing.resets_in,
        )

    async def _hit(self, item: RateLimitItem, *names: str) -> bool:
        try:
            return await self._window.hit(item, *names)
        except StorageError:
            return _uncounted()

    async def _allowed(self, item: RateLimitItem, *names: str) -> bool:
        try:
            return await self._window.test(item, *names)
        except StorageError:
            return _uncounted()

    async def _standing(self, item: RateLimitItem, *names: str) -> _Standing:
        try:
            stats = await self._window.get_window_stats(item, *names)
        except StorageError:
            return _Standing(item.amount, 1)
        return _Standing(stats.remaining, max(1, round(stats.reset_time - time.time())))


def _uncounted() -> bool:
    # Limits protect the service; losing their counters must not be what takes it down.
    log.error("the rate limit counters can't be reached; requests pass uncounted")
    return True
