"""Try again with full jitter, bounded in attempts and in time, one page at a time.

A loop of its own and not tenacity's: what decides here is the error's own `retry_after` and a
deadline shared with the request below, which tenacity's hooks would only spread over callbacks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from convergence.errors import MalformedResponseError, ProviderUnavailableError
from convergence.extract.clock import Deadline
from convergence.metering import Resource, Use, record_usage

T = TypeVar("T")
Failure = ProviderUnavailableError | MalformedResponseError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        attempts: calls in all, the first included.
        base_seconds: the first pause is drawn from nothing to this; it doubles from there.
        cap_seconds: no drawn pause is longer.
        malformed_attempts: calls in all when an answer can't be read.
        throttled: whether to call again after a 429.
    """

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30
    malformed_attempts: int = 3
    throttled: bool = True

    def ceiling(self, failures: int) -> float:
        """The longest pause after so many failures in a row (1 or more)."""
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 60))

    def allows(self, failure: Failure, *, failures: int) -> bool:
        """Whether another call may follow."""
        if failure.details.get("status") == HTTPStatus.TOO_MANY_REQUESTS and not self.throttled:
            return False
        malformed = isinstance(failure, MalformedResponseError)
        return failures < (self.malformed_attempts if malformed else self.attempts)


@dataclass
class Retrier:
    """Calls until it works; counts what that took.

    Attributes:
        retries: calls beyond the first, since it was made.
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.SystemRandom)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    retries: int = 0

    def run(self, call: Callable[[], T], *, deadline: Deadline) -> T:
        """The answer of the first call that gives one.

        A pause that the provider asks for is kept; one that reaches beyond the deadline is not
        begun, so no slot sleeps for a provider that wants to be left alone for long.

        Raises:
            ProviderUnavailableError: attempts or time ran out; `retry_after` in s, if told.
            MalformedResponseError: no answer could be read.
        """
        failures = 0
        while True:
            try:
                return call()
            except (ProviderUnavailableError, MalformedResponseError) as failure:
                failures += 1
                pause = self._pause(failure, failures)
                if not self.policy.allows(failure, failures=failures) or pause >= deadline.left():
                    raise _explained(failure, attempts=failures, now=self.now()) from None
            self.retries += 1
            record_usage(Resource.PROVIDER, Use(retries=1))
            self.sleep(pause)

    def _pause(self, failure: Failure, failures: int) -> float:
        drawn = self.rng.uniform(0, self.policy.ceiling(failures))
        told = _told(failure, now=self.now())
        # Jitter on top of what was told, or all clients come back at the same moment.
        return drawn if told is None else told + min(drawn, self.policy.base_seconds)


def parse_retry_after(text: object, *, now: datetime) -> float | None:
    """Seconds that a `Retry-After` header asks for; None when it says nothing usable.

    Delay in whole seconds or an HTTP date (RFC 9110, 10.2.3); one in the past means now.
    Fractions of a second are taken too, as some providers send them.
    """
    if not isinstance(text, str):
        return None
    told = text.strip()
    if told.replace(".", "", 1).isdigit() and told.isascii():
        return min(float(told), 1e9)
    try:
        moment = parsedate_to_datetime(told)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _told(failure: Failure, *, now: datetime) -> float | None:
    return parse_retry_after(failure.details.get("retry_after"), now=now)


def _explained(failure: Failure, *, attempts: int, now: datetime) -> Failure:
    facts = {**failure.details, "attempts": attempts}
    if "retry_after" in facts:
        facts["retry_after"] = _told(failure, now=now)
    return type(failure)(failure.message, **facts)
