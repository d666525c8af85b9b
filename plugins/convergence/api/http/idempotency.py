"""Idempotency of requests: the same request twice has one effect and one response.

A claim is a context manager around the steps of a request. The first claimant does the work and
completes the claim; every other one, in whichever process, gets the stored result:

    with idempotency.claim(owner, key, request=identity) as claim:
        if claim.is_new:
            claim.complete(ApiResult(200, do_the_work()))
    return respond(claim.result)
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
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
# Root calls belong to no org. A slug has no tilde, so no org shares this owner's keys.
PLATFORM = "~platform"
SAME_TRIGGER = timedelta(minutes=1)
_POLL_SECONDS = 0.05
_MAX_WAIT_SECONDS = 10.0

Write = Callable[[Connection], object]
"""Writes into the state store in the caller's transaction."""
Prepare = Callable[[], Write]
"""Checks a request before its key is claimed, and returns what is written with the claim."""


@dataclass(frozen=True)
class ApiResult:
    """The result of a request.

    Attributes:
        status: HTTP status.
        body: the JSON document.
        secrets: fields of the body that are sent once and left out of every replay.
        replayed: whether this is the stored result of an earlier request.
        record: writes in the transaction that stores the result.
    """

    status: int
    body: Mapping[str, Any]
    secrets: frozenset[str] = field(default_factory=frozenset)
    replayed: bool = False
    record: Write | None = None

    @property
    def replayable(self) -> dict[str, Any]:
        """The body in the form that may be stored."""
        return {name: value for name, value in self.body.items() if name not in self.secrets}


class Claim:
    """One request's claim: new, and to be completed inside the `with`, or already completed."""

    def __init__(self, *, claimed: KeyClaim | None = None, replay: ApiResult | None = None) -> None:
        self._claimed = claimed
        self._result = replay
        self.is_new = replay is None

    def complete(self, result: ApiResult) -> None:
        """Set the result; the end of the `with` stores it."""
        self._result = result

    @property
    def claimed(self) -> KeyClaim | None:
        """The key in the state store; None for a replay and for a request without a key."""
        return self._claimed

    @property
    def result(self) -> ApiResult:
        """The result of this request or of the earlier one."""
        if self._result is None:
            raise FatalError("the work of a claimed request set no result")
        return self._result


class Idempotency:
    """Claims requests in the state store, so that all API processes see one another's claims."""

    def __init__(self, store: StateStore) -> None:
        self._store = store

    @contextmanager
    def claim(
        self,
        owner: str,
        key: str | None,
        *,
        request: Mapping[str, Any],
        prepare: Prepare | None = None,
    ) -> Iterator[Claim]:
        """Claim a request under its caller's `Idempotency-Key`, from a thread that may block.

        Args:
            owner: the org, or `PLATFORM`.
            key: the caller's key; a request without one is always new.
            request: what identifies the request; it is hashed, never stored.
            prepare: called before the key is looked up; it raises where the caller may get no
                result, not even a stored one. The first claimant writes what it returns in the
                transaction that claims the key.

        Raises:
            IdempotencyKeyReusedError: an earlier request with the key differs from this one.
            RequestInFlightError: the first request with the key is still in progress.
        """
        claim = self._open(owner, key, request, prepare)
        try:
            yield claim
        except BaseException:
            self._release(claim)
            raise
        self._close(claim)

    @asynccontextmanager
    async def claim_async(
        self,
        owner: str,
        key: str | None,
        *,
        request: Mapping[str, Any],
        prepare: Prepare | None = None,
    ) -> AsyncIterator[Claim]:
        """Claim a request as `claim` does, from the event loop."""
        claim = await run_in_threadpool(self._open, owner, key, request, prepare)
        async with self._settle(claim):
            yield claim

    @asynccontextmanager
    async def claim_equal(
        self,
        owner: str,
        *,
        request: Mapping[str, Any],
        ttl: timedelta,
        prepare: Prepare | None = None,
    ) -> AsyncIterator[Claim]:
        """Claim all equal requests within `ttl` as one; concurrent ones wait for its result.

        Raises:
            RequestInFlightError: the first takes longer than a caller waits.
        """
        claim = await self._wait_for_equal(owner, request, ttl=ttl, prepare=prepare)
        async with self._settle(claim):
            yield claim

    @asynccontextmanager
    async def exclusive(self, owner: str, name: str) -> AsyncIterator[None]:
        """Reserve a name for the duration of the `with`. No result is stored.

        Raises:
            RequestInFlightError: another request has reserved it.
        """
        key = f"alone|{name}"
        claimed = await run_in_threadpool(
            self._claim, owner, key, {}, ttl=idempotency.MAX_RESPONSE_TIME
        )
        if not isinstance(claimed, KeyClaim):
            raise _in_flight_error()
        try:
            yield
        finally:
            await asyncio.shield(run_in_threadpool(self._release, Claim(claimed=claimed)))

    @asynccontextmanager
    async def _settle(self, claim: Claim) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            # The key of a caller that hung up must become free again: release it before the
            # cancellation goes on.
            await asyncio.shield(run_in_threadpool(self._release, claim))
            raise
        await run_in_threadpool(self._close, claim)

    async def _wait_for_equal(
        self,
        owner: str,
        request: Mapping[str, Any],
        *,
        ttl: timedelta,
        prepare: Prepare | None,
    ) -> Claim:
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        key = f"same|{_hash_request(request)}"
        while True:
            found = await run_in_threadpool(
                self._claim, owner, key, request, ttl=ttl, prepare=prepare
            )
            if isinstance(found, KeyMismatch):
                raise FatalError("two requests have one digest")
            if not isinstance(found, ClaimInFlight):
                return _build_claim(found)
            if time.monotonic() > deadline:
                raise _in_flight_error()
            await asyncio.sleep(_POLL_SECONDS)

    def _open(
        self,
        owner: str,
        key: str | None,
        request: Mapping[str, Any],
        prepare: Prepare | None,
    ) -> Claim:
        if key is None:
            if prepare is not None:
                self._write(prepare())
            return Claim()
        found = self._claim(
            owner, f"given|{key}", request, ttl=idempotency.KEY_LIFETIME, prepare=prepare
        )
        if isinstance(found, KeyMismatch):
            raise IdempotencyKeyReusedError("This Idempotency-Key was used for another request.")
        if isinstance(found, ClaimInFlight):
            raise _in_flight_error()
        return _build_claim(found)

    def _claim(
        self,
        owner: str,
        key: str,
        request: Mapping[str, Any],
        *,
        ttl: timedelta,
        prepare: Prepare | None = None,
    ) -> KeyClaim | StoredResponse | KeyMismatch | ClaimInFlight:
        begin = prepare() if prepare is not None else None
        with self._store.begin() as conn:
            found = idempotency.claim_key(
                conn,
                owner,
                hashlib.sha256(key.encode()).hexdigest(),
                request_hash=_hash_request(request),
                now=datetime.now(UTC),
                ttl=ttl,
            )
            # One transaction: a claim without its admission, or the reverse, never survives a
            # crash.
            if begin is not None and isinstance(found, KeyClaim):
                begin(conn)
            return found

    def _write(self, write: Write) -> None:
        with self._store.begin() as conn:
            write(conn)

    def _close(self, claim: Claim) -> None:
        result = claim.result
        if result.replayed or (claim.claimed is None and result.record is None):
            return
        with self._store.begin() as conn:
            if result.record is not None:
                result.record(conn)
            if claim.claimed is not None:
                idempotency.complete_claim(
                    conn, claim.claimed, status=result.status, body=result.replayable
                )

    def _release(self, claim: Claim) -> None:
        if claim.claimed is not None:
            with self._store.begin() as conn:
                idempotency.release_claim(conn, claim.claimed)


def _build_claim(found: KeyClaim | StoredResponse) -> Claim:
    if isinstance(found, StoredResponse):
        return Claim(replay=ApiResult(found.status, found.body, replayed=True))
    return Claim(claimed=found)


def _hash_request(request: Mapping[str, Any]) -> str:
    text = json.dumps(request, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _in_flight_error() -> RequestInFlightError:
    return RequestInFlightError("The same request is in progress; retry it in a few seconds.")
