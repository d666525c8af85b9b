"""Read a provider's pages into the spool, with rate limit, retries, deadlines and checkpoints."""

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
from convergence.extract.paginate import Page, PageResponse, Paginator, Row
from convergence.extract.ratelimit import Allowance
from convergence.extract.response_checks import check_response
from convergence.extract.retry import Retrier
from convergence.extract.spool import Spool
from convergence.extract.storage.quarantine import Quarantine
from convergence.extract.storage.raw import RawPages
from convergence.extract.strict_json import Json, parse_json
from convergence.metering import Resource, Use, record_usage


@dataclass(frozen=True, slots=True)
class Query:
    """One list to read to its end.

    Attributes:
        name: for messages, such as `completions`.
        paginator: builds the requests and reads the responses.
        to_rows: converts one row of the provider to no, one or several table rows.
        repeat_last_page: request the last page twice, since the list does not prove its end.
    """

    name: str
    paginator: Paginator
    to_rows: Callable[[Row], Iterable[Row]] = lambda row: (row,)
    repeat_last_page: bool = False


@dataclass(frozen=True, slots=True)
class StreamReport:
    """The totals of an extraction; pages and rows include those of earlier attempts."""

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
    """Read every query to its end into the spool; continue where an earlier attempt stopped.

    The spool's fingerprint must cover the queries, since a checkpoint names its query by position.
    If a response has an unexpected shape, the earlier pages are not trusted either and are
    discarded. After any other failure they stay, and the next attempt continues from them.

    Args:
        client: bound to the provider.
        queries: the lists.
        spool: takes the rows.
        limits: of the whole extraction.
        retrier: repeats the request of a page.
        allowance: limits the rate of requests.
        batch_rows: small pages become durable together once they have so many rows; a crash loses
            the pages in the buffer. 1: each page becomes durable at once.
        quarantine: keeps a response of an unexpected shape; the error names its file.
        raw: keeps every readable response.

    Raises:
        ProviderUnavailableError: the provider does not respond in time; run again later.
        ProviderRejectedError: the provider rejects the credential or the request.
        ProviderProtocolError: a response has an unexpected shape.
        SpoolError, SupersededError: as `Spool.write_page`.
    """
    try:
        return _Extraction(
            client,
            queries=queries,
            spool=spool,
            limits=limits,
            retrier=retrier,
            allowance=allowance,
            batch_rows=batch_rows,
            quarantine=quarantine,
            raw=raw,
        ).run_queries()
    except MalformedResponseError:
        raise
    except ProviderProtocolError:
        spool.discard()
        raise


@dataclass
class _PageBuffer:
    """Complete pages that are made durable together."""

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


class _Extraction:
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

    def run_queries(self) -> StreamReport:
        deadline = Deadline.after(self._limits.run_seconds)
        for record in self._spool.records:
            self._guard.restore(record)
        resumed_after = self._guard.pages
        while not self._spool.complete:
            point = self._spool.resume_point
            self._read_batch(point.token if point else None, deadline=deadline)
        return StreamReport(
            pages=self._guard.pages,
            rows=self._guard.rows,
            requests=self._requests,
            retries=self._retrier.retries,
            resumed_after=resumed_after,
        )

    def _read_batch(self, token: str | None, *, deadline: Deadline) -> None:
        """Read pages from a token on, until there are enough rows or the last page has arrived."""
        buffer = _PageBuffer(next_token=token)
        try:
            while True:
                self._read_page(buffer, deadline=deadline.within(self._limits.page_seconds))
                # A page without rows counts as one: else 1 would not mean every page at once.
                waiting = max(len(buffer.lines), len(buffer.digests))
                if buffer.next_token is None or waiting >= self._batch_rows:
                    break
        except (ProviderUnavailableError, ProviderRejectedError, MalformedResponseError):
            self._write_buffer(buffer)
            raise
        self._write_buffer(buffer)

    def _write_buffer(self, buffer: _PageBuffer) -> None:
        if buffer.digests:
            self._spool.write_lines(
                buffer.lines,
                next_token=buffer.next_token,
                raw_hash=sha256(b"".join(buffer.digests)).hexdigest(),
                raw_bytes=buffer.raw_bytes,
                provider_pages=len(buffer.digests),
                marks=buffer.marks,
            )

    def _read_page(self, buffer: _PageBuffer, *, deadline: Deadline) -> None:
        index, token = json.loads(buffer.next_token) if buffer.next_token else (0, None)
        query = self._queries[index]
        reply, body = self._retrier.call_with_retries(
            lambda: self._fetch_page(query, token, deadline=deadline), deadline=deadline
        )
        if self._raw is not None:
            self._raw.keep_response(reply.body, page=self._guard.pages + 1)
        with self._quarantine_on_error(reply):
            page = query.paginator.read_page(
                PageResponse(body, reply.headers, reply.url), token=token
            )
            rows = [table_row for row in page.rows for table_row in query.to_rows(row)]
            lines = [canonical.encode_row(row) for row in rows]
            following = self._build_token(index, page.next_token)
            marks = self._guard.add_page(
                query=index,
                rows=lines,
                raw_bytes=len(reply.body),
                next_page=page.next_position or page.next_token,
            )
        if query.repeat_last_page and page.next_token is None:
            self._confirm_last_page(query, token, page, deadline=deadline)
        buffer.add(lines, marks=marks, body=reply.body, token=following)
        record_usage(Resource.PROVIDER, Use(pages=1))

    def _confirm_last_page(
        self, query: Query, token: str | None, page: Page, *, deadline: Deadline
    ) -> None:
        """Request the last page again; a list that grows meanwhile has not ended."""
        reply, body = self._retrier.call_with_retries(
            lambda: self._fetch_page(query, token, deadline=deadline), deadline=deadline
        )
        response = PageResponse(body, reply.headers, reply.url)
        again = query.paginator.read_page(response, token=token)
        if (again.rows, again.next_token) != (page.rows, page.next_token):
            raise ProviderUnavailableError(
                "The last page changed between two requests", list=query.name
            )

    def _fetch_page(
        self, query: Query, token: str | None, *, deadline: Deadline
    ) -> tuple[ProviderResponse, Json]:
        """Request a page once; an unreadable response fails here, so that it is retried."""
        if self._allowance is not None:
            self._allowance.acquire(deadline=deadline)
        self._requests += 1
        reply = self._send_request(query, token, deadline=deadline)
        with self._quarantine_on_error(reply):
            parsed = parse_json(reply.body)
            # Before the response is kept unchanged: it must not repeat the credential.
            check_response(reply.body, parsed, secrets=self._client.secrets)
            return reply, parsed

    def _send_request(
        self, query: Query, token: str | None, *, deadline: Deadline
    ) -> ProviderResponse:
        request = query.paginator.request(token)
        if request.body is None:
            return self._client.get(request.path, request.params, deadline=deadline)
        return self._client.post(request.path, request.params, body=request.body, deadline=deadline)

    @contextmanager
    def _quarantine_on_error(self, reply: ProviderResponse) -> Iterator[None]:
        """Put a response into quarantine if it has an unexpected shape."""
        try:
            yield
        except ProviderProtocolError as error:
            if self._quarantine is not None:
                # The error of the response matters more than a failure to keep it.
                with suppress(OSError):
                    error.details["quarantined"] = self._quarantine.keep_response(
                        reply.body, page=self._guard.pages + 1, secrets=self._client.secrets
                    )
            raise

    def _build_token(self, index: int, next_token: str | None) -> str | None:
        """Return the spool's token: the position of the query and the token of its paginator."""
        if next_token is not None:
            return json.dumps([index, next_token])
        if index + 1 < len(self._queries):
            return json.dumps([index + 1, None])
        return None
