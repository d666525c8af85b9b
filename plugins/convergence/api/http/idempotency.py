"""The same request twice has one effect and one answer, whichever process gets it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from convergence.errors import (
    FatalError,
    IdempotencyKeyReusedError,
    RequestInFlightError,
)
from convergence.state import idempotency
from convergence.state.idempotency import ClaimInFlight, KeyClaim, KeyMismatch, StoredResponse
from convergence.state.store import StateStore

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
MAX_KEY_CHARS = 255
# Root calls belong to no org; a slug can't hold the tilde, so the two never meet.
PLATFORM = "~platform"
SAME_TRIGGER = timedelta(minutes=1)
_LOOK_AGAIN_SECONDS = 0.05
_LOOK_FOR_SECONDS = 10.0

Write = Callable[[Connection], object]


@dataclass(frozen=True)
class Answer:
    """What a request is answered.

    Attributes:
        status: HTTP status.
        body: the JSON document.
        secrets: fields of the body that are told once and left out of every replay.
        replayed: whether this is the answer to an earlier request.
        told_with: what is recorded in the transaction that records the answer.
    """

    status: int
    body: Mapping[str, Any]
    secrets: frozenset[str] = field(default_factory=frozenset)
    replayed: bool = False
    told_with: Write | None = None

    @property
    def replayable(self) -> dict[str, Any]:
        """The body as it may be stored."""
        return {name: value for name, value in self.body.items() if name not in self.secrets}


Work = Callable[[], Awaitable[Answer]]
Ready = Callable[[], Write]


class Once:
    """Runs work at most once per key; everyone else gets its answer."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def answer(
        self,
        owner: str,
        work: Work,
        *,
        given: str | None,
        request: Mapping[str, Any],
        ready: Ready | None = None,
    ) -> Answer:
        """Do the work for a request that may carry the caller's `Idempotency-Key`.

        Args:
            owner: the org, or `PLATFORM`.
            work: has the effect; when it raises, the key is free again.
            given: the caller's key; without one the work is simply done.
            request: what makes the request this one; hashed, never stored.
            ready: called in a thread before the key is looked at, and raises where there is to
                be no answer, not even an earlier one. What it gives is called in the
                transaction that claims the key, by whoever is the first with it.

        Raises:
            IdempotencyKeyReusedError: the key came with another request before.
            RequestInFlightError: that other request is being answered.
        """
        if given is None:
            if ready is not None:
                await run_in_threadpool(self._write, await run_in_threadpool(ready))
            return await self._told(await work())
        key = f"given|{given}"
        claimed = await self._claim(owner, key, request, ttl=idempotency.KEY_LIFETIME, ready=ready)
        if isinstance(claimed, KeyMismatch):
            raise IdempotencyKeyReusedError("This Idempotency-Key was used for another request.")
        if isinstance(claimed, ClaimInFlight):
            raise _in_flight()
        return await self._settle(claimed, work)

    async def answer_same(
        self,
        owner: str,
        work: Work,
        *,
        request: Mapping[str, Any],
        ttl: timedelta,
        ready: Ready | None = None,
    ) -> Answer:
        """Do the work once for all equal requests within `ttl`; those beside it wait for it.

        Raises:
            RequestInFlightError: it takes longer than a caller is kept waiting.
        """
        give_up = time.monotonic() + _LOOK_FOR_SECONDS
        while True:
            key = f"same|{_digest(request)}"
            claimed = await self._claim(owner, key, request, ttl=ttl, ready=ready)
            if isinstance(claimed, KeyMismatch):
                raise FatalError("two requests have one digest")
            if not isinstance(claimed, ClaimInFlight):
                return await self._settle(claimed, work)
            if time.monotonic() > give_up:
                raise _in_flight()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def alone(self, owner: str, name: str, work: Work) -> Answer:
        """Do the work unless it is being done; unlike an answer, that it was done is not kept.

        Raises:
            RequestInFlightError: it is being done.
        """
        claimed = await self._claim(owner, f"alone|{name}", {}, ttl=idempotency.MAX_RESPONSE_TIME)
        if not isinstance(claimed, KeyClaim):
            raise _in_flight()
        try:
            return await self._told(await work())
        finally:
            await asyncio.shield(run_in_threadpool(self._release, claimed))

    async def _settle(self, claimed: KeyClaim | StoredResponse, work: Work) -> Answer:
        if isinstance(claimed, StoredResponse):
            return Answer(claimed.status, claimed.body, replayed=True)
        try:
            answer = await work()
        except BaseException:
            # A caller that hung up must not leave the key taken: free it before giving way.
            await asyncio.shield(run_in_threadpool(self._release, claimed))
            raise
        await run_in_threadpool(self._complete, claimed, answer)
        return answer

    async def _told(self, answer: Answer) -> Answer:
        """The answer once what belongs to it is recorded, where the answer itself is not kept."""
        if answer.told_with is not None:
            await run_in_threadpool(self._write, answer.told_with)
        return answer

    def _write(self, write: Write) -> None:
        with self._store.begin() as conn:
            write(conn)

    async def _claim(
        self,
        owner: str,
        key: str,
        request: Mapping[str, Any],
        *,
        ttl: timedelta,
        ready: Ready | None = None,
    ) -> KeyClaim | StoredResponse | KeyMismatch | ClaimInFlight:
        def claim() -> KeyClaim | StoredResponse | KeyMismatch | ClaimInFlight:
            begin = ready() if ready is not None else None
            with self._store.begin() as conn:
                claimed = idempotency.claim_key(
                    conn,
                    owner,
                    hashlib.sha256(key.encode()).hexdigest(),
                    request_hash=_digest(request),
                    now=datetime.now(UTC),
                    ttl=ttl,
                )
                if begin is not None and isinstance(claimed, KeyClaim):
                    begin(conn)
                return claimed

        return await run_in_threadpool(claim)

    def _complete(self, claimed: KeyClaim, answer: Answer) -> None:
        with self._store.begin() as conn:
            if answer.told_with is not None:
                answer.told_with(conn)
            idempotency.complete_claim(conn, claimed, status=answer.status, body=answer.replayable)

    def _release(self, claimed: KeyClaim) -> None:
        with self._store.begin() as conn:
            idempotency.release_claim(conn, claimed)


def _digest(request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _in_flight() -> RequestInFlightError:
    return RequestInFlightError("The same request is being answered at this moment.")
