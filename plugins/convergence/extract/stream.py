"""From a provider's pages to the spool: rate, retries, deadlines, guards, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256

from convergence.errors import (
    MalformedResponseError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from convergence.extract import canonical
from convergence.extract.clock import Deadline
from convergence.extract.guard import PageGuard, StreamLimits
from convergence.extract.http import OriginClient, ProviderResponse
from convergence.extract.paginate import PageResponse, Paginator, Row
from convergence.extract.quarantine import Quarantine
from convergence.extract.ratelimit import Allowance
from convergence.extract.raw import RawPages
from convergence.extract.retry import Retrier
from convergence.extract.spool import Spool
from convergence.extract.strict_json import Json, parse_json
from convergence.metering import Resource, Use, record_usage


@dataclass(frozen=True, slots=True)
class Query:
    """One list to read to its end.

    Attributes:
        name: for messages, such as `completions`.
        paginator: how it is asked for.
        to_rows: makes table rows of one row of the provider; may drop it, or make several.
    """

    name: str
    paginator: Paginator
    to_rows: Callable[[Row], Iterable[Row]] = lambda row: (row,)


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What an extraction came to; pages and rows include those of earlier attempts."""

    pages: int
    rows: int
    requests: int
    retries: int
    resumed_after: int


def extract_pages(
    client: OriginClient,
    queries: Sequence[Query],
    spool: Spool,
    *,
    limits: StreamLimits | None = None,
    retrier: Retrier | None = None,
    allowance: Allowance | None = None,
    batch_rows: int = 1,
    quarantine: Quarantine | None = None,
    raw: RawPages | None = None,
) -> StreamReport:
    """Read every query to its end into the spool, going on where an earlier attempt stopped.

    The spool's fingerprint must cover the queries: a checkpoint names its query by position. When
    an answer breaks the API's shape, the pages so far are not trusted either and are discarded;
    after any other failure they stay, and the next attempt goes on from them.

    Args:
        client: bound to the provider.
        queries: the lists.
        spool: takes the rows.
        limits: of the whole extraction.
        retrier: asks for a page again.
        allowance: how often anything may be asked for.
        batch_rows: small pages are made durable together once they hold so many rows; a kill
            costs those that were held. 1: every page at once.
        quarantine: keeps an answer that breaks the API's shape; the error says where.
        raw: keeps every answer that could be read.

    Raises:
        ProviderUnavailableError: the provider does not answer in time; run again later.
        ProviderRejectedError: the provider refuses the credential or the request.
        ProviderProtocolError: an answer breaks the API's shape.
        SpoolError, SupersededError: as `Spool.write_page`.
    """
    try:
        return _Stream(
            client,
            queries=queries,
            spool=spool,
            limits=limits,
            retrier=retrier,
            allowance=allowance,
            batch_rows=batch_rows,
            quarantine=quarantine,
            raw=raw,
        ).run()
    except MalformedResponseError:
        raise
    except ProviderProtocolError:
        spool.discard()
        raise


@dataclass
class _Held:
    """Whole pages that wait for others to be made durable with them."""

    lines: list[bytes] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    raw_bytes: int = 0
    next_token: str | None = None

    def add(self, lines: list[bytes], *, marks: list[str], body: bytes, token: str | None) -> None:
        self.lines += lines
        self.marks += marks
        self.digests.append(sha256(body).digest())
        self.raw_bytes += len(body)
        self.next_token = token


class _Stream:
    def __init__(
        self,
        client: OriginClient,
        *,
        queries: Sequence[Query],
        spool: Spool,
        limits: StreamLimits | None,
        retrier: Retrier | None,
        allowance: Allowance | None,
        batch_rows: int,
        quarantine: Quarantine | None,
        raw: RawPages | None,
    ) -> None:
        self._client = client
        self._queries = queries
        self._spool = spool
        self._limits = limits or StreamLimits()
        self._retrier = retrier or Retrier()
        self._allowance = allowance
        self._batch_rows = batch_rows
        self._quarantine = quarantine
        self._raw = raw
        self._guard = PageGuard(self._limits)
        self._requests = 0

    def run(self) -> StreamReport:
        deadline = Deadline.after(self._limits.run_seconds)
        for record in self._spool.records:
            self._guard.restore(record)
        resumed_after = self._guard.pages
        while not self._spool.complete:
            point = self._spool.resume_point
            self._batch(point.token if point else None, deadline=deadline)
        return StreamReport(
            pages=self._guard.pages,
            rows=self._guard.rows,
            requests=self._requests,
            retries=self._retrier.retries,
            resumed_after=resumed_after,
        )

    def _batch(self, token: str | None, *, deadline: Deadline) -> None:
        """Pages from a token on, until there are rows enough or the last has come."""
        held = _Held(next_token=token)
        try:
            while True:
                self._one_page(held, deadline=deadline.within(self._limits.page_seconds))
                # A page without rows counts as one: else 1 would not mean every page at once.
                waiting = max(len(held.lines), len(held.digests))
                if held.next_token is None or waiting >= self._batch_rows:
                    break
        except (ProviderUnavailableError, ProviderRejectedError, MalformedResponseError):
            self._keep(held)
            raise
        self._keep(held)

    def _keep(self, held: _Held) -> None:
        if held.digests:
            self._spool.write_lines(
                held.lines,
                next_token=held.next_token,
                raw_hash=sha256(b"".join(held.digests)).hexdigest(),
                raw_bytes=held.raw_bytes,
                pages_held=len(held.digests),
                marks=held.marks,
            )

    def _one_page(self, held: _Held, *, deadline: Deadline) -> None:
        index, token = json.loads(held.next_token) if held.next_token else (0, None)
        query = self._queries[index]
        reply, body = self._retrier.run(
            lambda: self._fetch(query, token, deadline=deadline), deadline=deadline
        )
        if self._raw is not None:
            self._raw.keep(reply.body, page=self._guard.pages + 1)
        with self._suspect(reply):
            page = query.paginator.read_page(
                PageResponse(body, reply.headers, reply.url), token=token
            )
            rows = [table_row for row in page.rows for table_row in query.to_rows(row)]
            lines = [canonical.encode_row(row) for row in rows]
            following = self._following(index, page.next_token)
            marks = self._guard.note(
                query=index,
                rows=lines,
                raw_bytes=len(reply.body),
                next_page=page.next_position or page.next_token,
            )
        held.add(lines, marks=marks, body=reply.body, token=following)
        record_usage(Resource.PROVIDER, Use(pages=1))

    def _fetch(
        self, query: Query, token: str | None, *, deadline: Deadline
    ) -> tuple[ProviderResponse, Json]:
        """One attempt at a page; an answer that can't be read fails here and is asked for again."""
        if self._allowance is not None:
            self._allowance.acquire(deadline=deadline)
        self._requests += 1
        reply = self._ask(query, token, deadline=deadline)
        with self._suspect(reply):
            return reply, parse_json(reply.body)

    def _ask(self, query: Query, token: str | None, *, deadline: Deadline) -> ProviderResponse:
        request = query.paginator.request(token)
        if request.body is None:
            return self._client.get(request.path, request.params, deadline=deadline)
        return self._client.post(request.path, request.params, body=request.body, deadline=deadline)

    @contextmanager
    def _suspect(self, reply: ProviderResponse) -> Iterator[None]:
        """Keep an answer aside that turns out to break the API's shape."""
        try:
            yield
        except ProviderProtocolError as error:
            if self._quarantine is not None:
                # What became of the answer is what counts, not whether it could be kept.
                with suppress(OSError):
                    error.details["quarantined"] = self._quarantine.keep(
                        reply.body, page=self._guard.pages + 1
                    )
            raise

    def _following(self, index: int, next_token: str | None) -> str | None:
        """The spool's token: position of the query, and the paginator's own token."""
        if next_token is not None:
            return json.dumps([index, next_token])
        if index + 1 < len(self._queries):
            return json.dumps([index + 1, None])
        return None
