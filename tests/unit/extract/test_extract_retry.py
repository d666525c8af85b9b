"""Retrying: full jitter, bounded in attempts and in time, obedient to Retry-After."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import (
    ConvergenceError,
    MalformedResponseError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from convergence.extract.clock import Deadline
from convergence.extract.retry import Retrier, RetryPolicy, parse_retry_after

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@dataclass
class RetryEnv:
    """A clock that only sleeping and calling move on."""

    seconds: float = 1_000.0
    naps: list[float] = field(default_factory=list)
    calls: int = 0

    def clock(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.seconds += seconds

    def deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, clock=self.clock)

    def retrier(self, policy: RetryPolicy, *, seed: int = 0) -> Retrier:
        return Retrier(policy, sleep=self.sleep, rng=random.Random(seed), now=lambda: NOW)

    def failing(
        self, error: ConvergenceError, *, times: int = 99, takes: float = 0.0
    ) -> Callable[[], str]:
        """A call that fails so many times, each taking so long."""

        def call() -> str:
            self.calls += 1
            self.seconds += takes
            if self.calls <= times:
                raise error
            return "answer"

        return call


def unavailable(retry_after: str | None = None) -> ProviderUnavailableError:
    return ProviderUnavailableError("come back", status=429, retry_after=retry_after)


policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 8),
    base_seconds=st.floats(0.001, 10),
    cap_seconds=st.floats(0.001, 60),
)


@given(policies, st.floats(0.01, 500), st.floats(0, 20), st.integers(0, 12), st.integers())
def test_attempts_and_time_are_bounded_whatever_happens(
    policy: RetryPolicy, budget: float, takes: float, times: int, seed: int
) -> None:
    env = RetryEnv()
    retrier = env.retrier(policy, seed=seed)
    call = env.failing(unavailable(), times=times, takes=takes)
    deadline = env.deadline(budget)
    with suppress(ProviderUnavailableError):
        assert retrier.call_with_retries(call, deadline=deadline) == "answer"
        assert env.calls == times + 1
    assert 1 <= env.calls <= policy.attempts
    assert retrier.retries == len(env.naps) == env.calls - 1
    assert sum(env.naps) <= budget
    for failures, nap in enumerate(env.naps, start=1):
        assert 0 <= nap <= policy.ceiling(failures)


def test_the_jitter_is_full() -> None:
    naps = []
    for seed in range(200):
        env = RetryEnv()
        retrier = env.retrier(RetryPolicy(base_seconds=1), seed=seed)
        retrier.call_with_retries(env.failing(unavailable(), times=1), deadline=env.deadline(9))
        naps += env.naps
    assert min(naps) < 0.05
    assert max(naps) > 0.95


@pytest.mark.parametrize("error", [ProviderRejectedError("no"), ProviderProtocolError("odd")])
def test_what_asking_again_cannot_mend_is_not_asked_again(error: ConvergenceError) -> None:
    env = RetryEnv()
    with pytest.raises(type(error)):
        env.retrier(RetryPolicy()).call_with_retries(env.failing(error), deadline=env.deadline(99))
    assert env.calls == 1


def test_an_unreadable_answer_has_fewer_attempts() -> None:
    env = RetryEnv()
    with pytest.raises(MalformedResponseError):
        env.retrier(RetryPolicy(attempts=9, malformed_attempts=3)).call_with_retries(
            env.failing(MalformedResponseError("cut")),
            deadline=env.deadline(99),
        )
    assert env.calls == 3


def test_a_told_pause_is_kept_and_never_shortened() -> None:
    env = RetryEnv()
    env.retrier(RetryPolicy(base_seconds=0.5)).call_with_retries(
        env.failing(unavailable("7"), times=1), deadline=env.deadline(60)
    )
    assert 7 <= env.naps[0] <= 7.5


def test_a_told_pause_beyond_the_deadline_is_not_begun() -> None:
    env = RetryEnv()
    with pytest.raises(ProviderUnavailableError) as failure:
        env.retrier(RetryPolicy()).call_with_retries(
            env.failing(unavailable("120"), times=1), deadline=env.deadline(60)
        )
    assert env.naps == []
    assert failure.value.details["retry_after"] == 120.0


@given(st.integers(-100_000, 100_000))
def test_a_date_is_the_seconds_until_it(seconds: int) -> None:
    moment = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(moment, now=NOW) == max(0, seconds)


@given(st.one_of(st.none(), st.integers(), st.text(max_size=40), st.from_regex(r"-?[0-9.eE+-]+")))
def test_any_retry_after_is_seconds_or_nothing(told: object) -> None:
    found = parse_retry_after(told, now=NOW)
    assert found is None or 0 <= found < 1e12


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("0", 0),
        (" 12 ", 12),
        ("1.5", 1.5),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("²", None),
        (None, None),
        ("9" * 500, 1e9),
    ],
)
def test_retry_after_in_every_form(told: object, seconds: float | None) -> None:
    assert parse_retry_after(told, now=NOW) == seconds


def test_the_error_says_how_often_was_asked() -> None:
    env = RetryEnv()
    with pytest.raises(ProviderUnavailableError) as failure:
        env.retrier(RetryPolicy(attempts=4)).call_with_retries(
            env.failing(unavailable("garbage")), deadline=env.deadline(999)
        )
    assert failure.value.details == {"status": 429, "retry_after": None, "attempts": 4}
