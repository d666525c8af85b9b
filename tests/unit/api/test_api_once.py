"""One effect per request, and no secret in what is kept of its answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from convergence.api.http.idempotency import PLATFORM, Answer, Once
from convergence.errors import ConflictError, IdempotencyKeyReusedError, RequestInFlightError
from support.api.env import ACME, InMemoryServices

SECRET = "acme_corp_api_AAAAbbbb11112222"


@pytest.fixture
def once(services: InMemoryServices) -> Once:
    return services.once


async def told() -> Answer:
    return Answer(200, {"api_key": SECRET, "key_id": "key_1"}, secrets=frozenset({"api_key"}))


async def refused() -> Answer:
    raise ConflictError("Not now.")


def test_a_secret_is_told_once_and_kept_nowhere(once: Once, services: InMemoryServices) -> None:
    async def run() -> tuple[Answer, Answer]:
        first = await once.answer(PLATFORM, told, given="k", request={"a": 1})
        return first, await once.answer(PLATFORM, told, given="k", request={"a": 1})

    first, again = asyncio.run(run())
    assert first.body["api_key"] == SECRET
    assert again.replayed
    assert dict(again.body) == {"key_id": "key_1"}
    with services.store.read() as conn:
        kept = str(conn.execute(text("SELECT * FROM idempotency_keys")).all())
    assert "key_1" in kept
    assert SECRET not in kept


def test_a_refused_request_leaves_its_key_free(once: Once) -> None:
    async def run() -> Answer:
        with pytest.raises(ConflictError):
            await once.answer(ACME, refused, given="k", request={"a": 1})
        return await once.answer(ACME, told, given="k", request={"a": 2})

    assert not asyncio.run(run()).replayed


def test_a_caller_that_hangs_up_leaves_its_key_free(once: Once) -> None:
    async def slow() -> Answer:
        await asyncio.sleep(60)
        return await told()

    async def run() -> Answer:
        task = asyncio.create_task(once.answer(ACME, slow, given="k", request={}))
        await asyncio.sleep(0.2)
        with pytest.raises(RequestInFlightError):
            await once.answer(ACME, told, given="k", request={})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await once.answer(ACME, told, given="k", request={})

    assert not asyncio.run(run()).replayed


def test_another_request_with_the_key_is_refused(once: Once) -> None:
    async def run() -> None:
        await once.answer(ACME, told, given="k", request={"a": 1})
        with pytest.raises(IdempotencyKeyReusedError):
            await once.answer(ACME, told, given="k", request={"a": 2})

    asyncio.run(run())


def test_equal_requests_are_one_until_their_time_is_over(once: Once) -> None:
    done: list[int] = []

    async def work() -> Answer:
        done.append(1)
        return await told()

    async def run() -> None:
        ttl = timedelta(seconds=0.3)
        for _ in range(3):
            await once.answer_same(ACME, work, request={"a": 1}, ttl=ttl)
        await asyncio.sleep(0.4)
        await once.answer_same(ACME, work, request={"a": 1}, ttl=ttl)

    asyncio.run(run())
    assert len(done) == 2


def test_work_that_must_be_alone_is_refused_beside_itself_and_free_after_it(once: Once) -> None:
    async def slow() -> Answer:
        await asyncio.sleep(0.3)
        return await told()

    async def run() -> None:
        first = asyncio.create_task(once.alone(PLATFORM, "bootstrap", slow))
        await asyncio.sleep(0.1)
        with pytest.raises(RequestInFlightError):
            await once.alone(PLATFORM, "bootstrap", slow)
        assert not (await first).replayed
        assert not (await once.alone(PLATFORM, "bootstrap", slow)).replayed
        with pytest.raises(ConflictError):
            await once.alone(PLATFORM, "bootstrap", refused)
        assert not (await once.alone(PLATFORM, "bootstrap", told)).replayed

    asyncio.run(run())
