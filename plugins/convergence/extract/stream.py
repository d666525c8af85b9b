"""From a provider's pages to the spool: rate, retries, deadlines, guards, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from convergence.errors import MalformedAnswerError, ProviderProtocolError
from convergence.extract.clock import Deadline
from convergence.extract.http import OriginClient, Reply
from convergence.extract.pages import PageRecord
from convergence.extract.paginate import Page, PageAnswer, Paginator, Row
from convergence.extract.ratelimit import Allowance
from convergence.extract.retry import Retrier
from convergence.extract.spool import Spool
from convergence.extract.strict_json import Json, parse
from convergence.metering import Resource, Use, count


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
class StreamLimits:
    """Where an extraction ends whatever the provider does. Seconds, counts and bytes."""

    page_seconds: float = 300
    run_seconds: float = 3_600
    pages: int = 20_000
    rows: int = 50_000_000
    raw_bytes: int = 16 * 1024**3


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What an extraction came to; pages and rows include those of earlier attempts."""

    pages: int
    rows: int
    requests: int
    retries: int
    resumed_after: int


@dataclass
class PageGuard:
    """Notices a provider that goes in circles or does not end; rebuilt from checkpoints."""

    limits: StreamLimits
    pages: int = 0
    rows: int = 0
    raw_bytes: int = 0
    _query: int = 0
    _tokens: set[bytes] = field(default_factory=set)
    _contents: set[bytes] = field(default_factory=set)

    def note(self, record: PageRecord) -> None:
        """Count a durable page in.

        Raises:
            ProviderProtocolError: a token or a page's content came again, or a limit is passed.
        """
        self.pages += 1
        self.rows += record.rows
        self.raw_bytes += record.raw_bytes
        if record.next_token is not None:
            _once(self._tokens, record.next_token.encode(), "The provider repeats a page token")
        if record.rows:
            content = f"{self._query}|{record.rows_hash}".encode()
            _once(self._contents, content, "The provider repeats a page")
        if record.next_token is not None:
            self._query = json.loads(record.next_token)[0]
        for name in ("pages", "rows", "raw_bytes"):
            if getattr(self, name) > getattr(self.limits, name):
                raise ProviderProtocolError(
                    "The provider sends more than any slice should hold",
                    limit=f"{name}={getattr(self.limits, name)}",
                )


def extract(
    client: OriginClient,
    queries: Sequence[Query],
    spool: Spool,
    *,
    limits: StreamLimits | None = None,
    retrier: Retrier | None = None,
    allowance: Allowance | None = None,
) -> StreamReport:
    """Read every query to its end into the spool, going on where an earlier attempt stopped.

    The spool's fingerprint must cover the queries: a checkpoint names its query by position. When
    an answer breaks the API's shape, the pages so far are not trusted either and are discarded;
    after any other failure they stay, and the next attempt goes on from them.

    Raises:
        ProviderUnavailableError: the provider does not answer in time; run again later.
        ProviderRefusedError: the provider refuses the credential or the request.
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
        ).run()
    except MalformedAnswerError:
        raise
    except ProviderProtocolError:
        spool.discard()
        raise


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
    ) -> None:
        self._client = client
        self._queries = queries
        self._spool = spool
        self._limits = limits or StreamLimits()
        self._retrier = retrier or Retrier()
        self._allowance = allowance
        self._guard = PageGuard(self._limits)
        self._requests = 0

    def run(self) -> StreamReport:
        deadline = Deadline.after(self._limits.run_seconds)
        for record in self._spool.records:
            self._guard.note(record)
        resumed_after = self._guard.pages
        while not self._spool.complete:
            point = self._spool.resume_point
            index, token = json.loads(point.token) if point else (0, None)
            self._one_page(index, token, deadline=deadline.within(self._limits.page_seconds))
        return StreamReport(
            pages=self._guard.pages,
            rows=self._guard.rows,
            requests=self._requests,
            retries=self._retrier.retries,
            resumed_after=resumed_after,
        )

    def _one_page(self, index: int, token: str | None, *, deadline: Deadline) -> None:
        query = self._queries[index]
        reply, body = self._retrier.run(
            lambda: self._fetch(query, token, deadline=deadline), deadline=deadline
        )
        page = query.paginator.read(PageAnswer(body, reply.headers, reply.url), token=token)
        record = self._spool.write_page(
            [table_row for row in page.rows for table_row in query.to_rows(row)],
            next_token=self._following(index, page),
            raw_hash=sha256(reply.body).hexdigest(),
            raw_bytes=len(reply.body),
        )
        count(Resource.PROVIDER, Use(pages=1))
        self._guard.note(record)

    def _fetch(self, query: Query, token: str | None, *, deadline: Deadline) -> tuple[Reply, Json]:
        """One attempt at a page; an answer that can't be read fails here and is asked for again."""
        if self._allowance is not None:
            self._allowance.acquire(deadline=deadline)
        self._requests += 1
        request = query.paginator.request(token)
        reply = self._client.get(request.path, request.params, deadline=deadline)
        return reply, parse(reply.body)

    def _following(self, index: int, page: Page) -> str | None:
        """The spool's token: position of the query, and the paginator's own token."""
        if page.next_token is not None:
            return json.dumps([index, page.next_token])
        if index + 1 < len(self._queries):
            return json.dumps([index + 1, None])
        return None


def _once(seen: set[bytes], value: bytes, message: str) -> None:
    digest = sha256(value).digest()[:16]
    if digest in seen:
        raise ProviderProtocolError(message)
    seen.add(digest)
