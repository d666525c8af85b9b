"""Idempotency: a repeated request has one effect, and no stored response has a secret."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text

from convergence.api.http.idempotency import PLATFORM, ApiResult, Idempotency, Write
from convergence.errors import ConflictError, IdempotencyKeyReusedError, RequestInFlightError
from support.api.env import ACME, InMemoryServices

SECRET = "acme_corp_api_AAAAbbbb11112222"
RESULT = ApiResult(200, {"api_key": SECRET, "key_id": "key_1"}, secrets=frozenset({"api_key"}))


@pytest.fixture
def idempotency(services: InMemoryServices) -> Idempotency:
    return services.idempotency


async def request_result(
    idempotency: Idempotency,
    owner: str,
    *,
    request: Mapping[str, object],
    seconds: float = 0.0,
    denied: bool = False,
) -> ApiResult:
    async with idempotency.claim_async(owner, "k", request=request) as claim:
        if claim.is_new:
            await asyncio.sleep(seconds)
            if denied:
                raise ConflictError("Not now.")
            claim.complete(RESULT)
    return claim.result


def test_a_secret_is_returned_once_and_stored_nowhere(
    idempotency: Idempotency, services: InMemoryServices
) -> None:
    async def run() -> tuple[ApiResult, ApiResult]:
        first = await request_result(idempotency, PLATFORM, request={"a": 1})
        return first, await request_result(idempotency, PLATFORM, request={"a": 1})

    first, again = asyncio.run(run())
    assert first.body["api_key"] == SECRET
    assert again.replayed
    assert dict(again.body) == {"key_id": "key_1"}
    with services.store.read() as conn:
        stored = str(conn.execute(text("SELECT * FROM idempotency_keys")).all())
    assert "key_1" in stored
    assert SECRET not in stored


def test_a_claim_in_a_thread_and_one_in_the_event_loop_are_the_same(
    idempotency: Idempotency,
) -> None:
    with idempotency.claim(ACME, "k", request={"a": 1}) as claim:
        assert claim.is_new
        claim.complete(RESULT)
    with idempotency.claim(ACME, "k", request={"a": 1}) as claim:
        assert not claim.is_new
    assert claim.result.replayed
    again = asyncio.run(request_result(idempotency, ACME, request={"a": 1}))
    assert again.replayed


def test_a_denied_request_in_a_thread_leaves_its_key_free(idempotency: Idempotency) -> None:
    with (
        pytest.raises(ConflictError),
        idempotency.claim(ACME, "k", request={"a": 1}),
    ):
        raise ConflictError("Not now.")
    with idempotency.claim(ACME, "k", request={"a": 2}) as claim:
        assert claim.is_new
        claim.complete(RESULT)


def test_a_request_without_a_key_is_new_each_time(idempotency: Idempotency) -> None:
    for _ in range(2):
        with idempotency.claim(ACME, None, request={"a": 1}) as claim:
            assert claim.is_new
            claim.complete(RESULT)


def test_only_the_first_claimant_writes_its_admission(
    idempotency: Idempotency, services: InMemoryServices
) -> None:
    prepared: list[int] = []
    admitted: list[int] = []

    def prepare() -> Write:
        prepared.append(1)

        def admit(_conn: Connection) -> None:
            admitted.append(1)

        return admit

    for _ in range(3):
        with idempotency.claim(ACME, "k", request={}, prepare=prepare) as claim:
            if claim.is_new:
                claim.complete(RESULT)
    assert (len(prepared), len(admitted)) == (3, 1)


def test_an_admission_that_raises_claims_nothing(idempotency: Idempotency) -> None:
    def admit(_conn: Connection) -> None:
        raise ConflictError("Not now.")

    with (
        pytest.raises(ConflictError),
        idempotency.claim(ACME, "k", request={}, prepare=lambda: admit),
    ):
        pytest.fail("the claim must not succeed")
    with idempotency.claim(ACME, "k", request={"other": 1}) as claim:
        assert claim.is_new
        claim.complete(RESULT)


def test_a_denied_request_leaves_its_key_free(idempotency: Idempotency) -> None:
    async def run() -> ApiResult:
        with pytest.raises(ConflictError):
            await request_result(idempotency, ACME, request={"a": 1}, denied=True)
        return await request_result(idempotency, ACME, request={"a": 2})

    assert not asyncio.run(run()).replayed


def test_a_caller_that_hangs_up_leaves_its_key_free(idempotency: Idempotency) -> None:
    async def run() -> ApiResult:
        slow = request_result(idempotency, ACME, request={}, seconds=60)
        task = asyncio.create_task(slow)
        await asyncio.sleep(0.2)
        with pytest.raises(RequestInFlightError):
            await request_result(idempotency, ACME, request={})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await request_result(idempotency, ACME, request={})

    assert not asyncio.run(run()).replayed


def test_a_different_request_with_the_key_is_rejected(idempotency: Idempotency) -> None:
    async def run() -> None:
        await request_result(idempotency, ACME, request={"a": 1})
        with pytest.raises(IdempotencyKeyReusedError):
            await request_result(idempotency, ACME, request={"a": 2})

    asyncio.run(run())


def test_equal_requests_are_one_until_their_time_is_over(idempotency: Idempotency) -> None:
    done: list[int] = []

    async def request_equal(ttl: timedelta) -> None:
        async with idempotency.claim_equal(ACME, request={"a": 1}, ttl=ttl) as claim:
            if claim.is_new:
                done.append(1)
                claim.complete(RESULT)

    async def run() -> None:
        ttl = timedelta(seconds=0.3)
        for _ in range(3):
            await request_equal(ttl)
        await asyncio.sleep(0.4)
        await request_equal(ttl)

    asyncio.run(run())
    assert len(done) == 2


def test_exclusive_work_is_denied_while_it_runs_and_free_after_it(
    idempotency: Idempotency,
) -> None:
    async def work(seconds: float = 0.0, *, denied: bool = False) -> None:
        async with idempotency.exclusive(PLATFORM, "bootstrap"):
            await asyncio.sleep(seconds)
            if denied:
                raise ConflictError("Not now.")

    async def run() -> None:
        first = asyncio.create_task(work(0.3))
        await asyncio.sleep(0.1)
        with pytest.raises(RequestInFlightError):
            await work()
        await first
        await work()
        with pytest.raises(ConflictError):
            await work(denied=True)
        await work()

    asyncio.run(run())
