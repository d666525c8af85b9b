"""Detect a provider that repeats pages or whose list does not end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from convergence.errors import ProviderProtocolError
from convergence.extract.pages import PageRecord

_REPEATED = {"token": "The provider repeats a page token", "page": "The provider repeats a page"}


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """The limits of an extraction in seconds, counts and bytes."""

    page_seconds: float = 300
    run_seconds: float = 3_600
    pages: int = 20_000
    rows: int = 50_000_000
    raw_bytes: int = 16 * 1024**3


@dataclass
class PageGuard:
    """The page tokens, page contents and totals of an extraction; restored from checkpoints."""

    limits: StreamLimits
    pages: int = 0
    rows: int = 0
    raw_bytes: int = 0
    _seen: set[str] = field(default_factory=set)

    def restore(self, record: PageRecord) -> None:
        """Add the durable pages of an earlier attempt."""
        self.pages += record.pages
        self.rows += record.rows
        self.raw_bytes += record.raw_bytes
        self._seen.update(record.marks)

    def add_page(
        self, *, query: int, rows: Sequence[bytes], raw_bytes: int, next_page: str | None
    ) -> list[str]:
        """Add a page, and return the marks that identify it.

        Args:
            query: position of the list that the page belongs to.
            rows: the encoded rows.
            raw_bytes: size of the response.
            next_page: the provider's name of the next page; None at the end of the list.

        Raises:
            ProviderProtocolError: a token or the content of a page is repeated, or a limit is
                exceeded.
        """
        self.pages += 1
        self.rows += len(rows)
        self.raw_bytes += raw_bytes
        marks: list[str] = []
        if next_page is not None:
            marks.append(self._add_mark("token", f"{query}\n{next_page}".encode()))
        if rows:
            marks.append(self._add_mark("page", b"\n".join((str(query).encode(), *rows))))
        self._check_limits()
        return marks

    def _add_mark(self, kind: str, value: bytes) -> str:
        mark = f"{kind[0]}{sha256(value).hexdigest()[:32]}"
        if mark in self._seen:
            raise ProviderProtocolError(_REPEATED[kind])
        self._seen.add(mark)
        return mark

    def _check_limits(self) -> None:
        for name in ("pages", "rows", "raw_bytes"):
            if getattr(self, name) > getattr(self.limits, name):
                raise ProviderProtocolError(
                    "The provider sends more than the limit of an extraction",
                    limit=f"{name}={getattr(self.limits, name)}",
                )
