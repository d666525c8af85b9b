"""Request rates: per org, in total, and failed authentications per address.

Counters are in Redis when `REDIS_URL` is set, otherwise in this process.
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

# An invalid key costs a lookup. Failures are counted per address and claimed org, so that one
# customer's stale key does not lock out others behind a shared address; and per address alone,
# with a higher limit.
FAILED_KEYS_PER_MINUTE = 20
FAILED_ADDRESS_PER_MINUTE = 200


@dataclass(frozen=True)
class _WindowUse:
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
        """Return a limiter whose counters are where the settings say."""
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

    async def count_request(self, context: RequestContext) -> None:
        """Count one admitted request against its org and against all.

        Raises:
            LimitError: the window is full.
        """
        if not self._enabled:
            return
        await self._count_hit(self._overall, "overall", subject="requests in total")
        org = context.caller.org_slug
        if org is None:
            return
        try:
            await self._count_hit(self._per_org, "org", org, subject="requests per minute")
        finally:
            use = await self._read_use(self._per_org, "org", org)
            context.headers |= {
                "RateLimit-Limit": str(self._per_org.amount),
                "RateLimit-Remaining": str(use.remaining),
                "RateLimit-Reset": str(use.resets_in),
            }

    async def check_failures(self, address: str, claimed: str) -> None:
        """Reject the request when too many keys were invalid.

        Raises:
            LimitError: before the key is looked up.
        """
        for item, names in self._failure_windows(address, claimed):
            if self._enabled and not await self._is_allowed(item, *names):
                await self._raise_limit(item, *names, subject="failed authentications per minute")

    async def count_failure(self, address: str, claimed: str) -> None:
        """Count one invalid key."""
        for item, names in self._failure_windows(address, claimed):
            if self._enabled:
                await self._hit_window(item, *names)

    def _failure_windows(
        self, address: str, claimed: str
    ) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
        return [
            (self._failed_key, ("failed", address, claimed)),
            (self._failed_address, ("failed", address)),
        ]

    async def _count_hit(self, item: RateLimitItem, *names: str, subject: str) -> None:
        if not await self._hit_window(item, *names):
            await self._raise_limit(item, *names, subject=subject)

    async def _raise_limit(self, item: RateLimitItem, *names: str, subject: str) -> None:
        use = await self._read_use(item, *names)
        raise LimitError(
            f"Too many requests: {subject} are limited to {item.amount}.",
            limit=item.amount,
            used=item.amount,
            retry_after=use.resets_in,
        )

    async def _hit_window(self, item: RateLimitItem, *names: str) -> bool:
        try:
            return await self._window.hit(item, *names)
        except StorageError:
            return _pass_uncounted()

    async def _is_allowed(self, item: RateLimitItem, *names: str) -> bool:
        try:
            return await self._window.test(item, *names)
        except StorageError:
            return _pass_uncounted()

    async def _read_use(self, item: RateLimitItem, *names: str) -> _WindowUse:
        try:
            stats = await self._window.get_window_stats(item, *names)
        except StorageError:
            return _WindowUse(item.amount, 1)
        return _WindowUse(stats.remaining, max(1, round(stats.reset_time - time.time())))


def _pass_uncounted() -> bool:
    # Limits protect the service: an outage of their counters must not become an outage of the API.
    log.error("the rate limit counters can't be reached; requests pass uncounted")
    return True
