"""Retry the request of a page with full jitter, limited in attempts and in time.

This is not tenacity, since the decision needs the error's `retry_after` and the deadline of the
request; with tenacity's hooks the logic would be spread over several callbacks.
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
    """The limits of retries.

    Attributes:
        attempts: number of calls, the first one included.
        base_seconds: upper bound of the first random pause; it doubles with each failure.
        cap_seconds: upper bound of every random pause.
        malformed_attempts: number of calls if the responses can't be read.
        throttled: whether to retry after a 429.
    """

    attempts: int = 6
    base_seconds: float = 0.5
    cap_seconds: float = 30
    malformed_attempts: int = 3
    throttled: bool = True

    def ceiling(self, failures: int) -> float:
        """Return the upper bound of the pause after a number of failures in a row (1 or more)."""
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(failures - 1, 60))

    def allows(self, failure: Failure, *, failures: int) -> bool:
        """Return whether another call may follow."""
        if failure.details.get("status") == HTTPStatus.TOO_MANY_REQUESTS and not self.throttled:
            return False
        malformed = isinstance(failure, MalformedResponseError)
        return failures < (self.malformed_attempts if malformed else self.attempts)


@dataclass
class Retrier:
    """Repeat a call until it succeeds, and count the retries.

    Attributes:
        retries: number of calls beyond the first ones.
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.SystemRandom)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    retries: int = 0

    def call_with_retries(self, call: Callable[[], T], *, deadline: Deadline) -> T:
        """Return the result of the first successful call.

        A pause that the provider requests is respected. If it ends after the deadline, the call
        fails at once, so that no slot sleeps for a long pause.

        Raises:
            ProviderUnavailableError: attempts or time are used up; `retry_after` in seconds if the
                provider sent one.
            MalformedResponseError: no response could be read.
        """
        failures = 0
        while True:
            try:
                return call()
            except (ProviderUnavailableError, MalformedResponseError) as failure:
                failures += 1
                pause = self._choose_pause(failure, failures)
                if (
                    not self.policy.allows(failure, failures=failures)
                    or pause >= deadline.seconds_left()
                ):
                    raise _build_failure(failure, attempts=failures, now=self.now()) from None
            self.retries += 1
            record_usage(Resource.PROVIDER, Use(retries=1))
            self.sleep(pause)

    def _choose_pause(self, failure: Failure, failures: int) -> float:
        drawn = self.rng.uniform(0, self.policy.ceiling(failures))
        requested = _requested_pause(failure, now=self.now())
        # Jitter on top of the requested pause, or all clients return at the same moment.
        return drawn if requested is None else requested + min(drawn, self.policy.base_seconds)


def parse_retry_after(text: object, *, now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` header; None if it can't be read.

    Delay in whole seconds or an HTTP date (RFC 9110, 10.2.3); one in the past means now.
    Fractions of a second are taken too, as some providers send them.
    """
    if not isinstance(text, str):
        return None
    value = text.strip()
    if value.replace(".", "", 1).isdigit() and value.isascii():
        return min(float(value), 1e9)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _requested_pause(failure: Failure, *, now: datetime) -> float | None:
    return parse_retry_after(failure.details.get("retry_after"), now=now)


def _build_failure(failure: Failure, *, attempts: int, now: datetime) -> Failure:
    details = {**failure.details, "attempts": attempts}
    if "retry_after" in details:
        details["retry_after"] = _requested_pause(failure, now=now)
    return type(failure)(failure.message, **details)
