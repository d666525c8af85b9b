"""What notices a provider that goes in circles or does not end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from convergence.errors import ProviderProtocolError
from convergence.extract.pages import PageRecord

_REPEATED = {"token": "The provider repeats a page token", "page": "The provider repeats a page"}


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Where an extraction ends whatever the provider does. Seconds, counts and bytes."""

    page_seconds: float = 300
    run_seconds: float = 3_600
    pages: int = 20_000
    rows: int = 50_000_000
    raw_bytes: int = 16 * 1024**3


@dataclass
class PageGuard:
    """Every page token and content of a run, and how much there was; rebuilt from checkpoints."""

    limits: StreamLimits
    pages: int = 0
    rows: int = 0
    raw_bytes: int = 0
    _seen: set[str] = field(default_factory=set)

    def restore(self, record: PageRecord) -> None:
        """Count in what an earlier attempt made durable."""
        self.pages += record.pages
        self.rows += record.rows
        self.raw_bytes += record.raw_bytes
        self._seen.update(record.marks)

    def note(
        self, *, query: int, rows: Sequence[bytes], raw_bytes: int, next_page: str | None
    ) -> list[str]:
        """Count a page in, and give the marks by which it is known again.

        Args:
            query: position of the list that the page belongs to.
            rows: as they will be written.
            raw_bytes: size of the answer.
            next_page: the provider's name of the page that follows; None at the list's end.

        Raises:
            ProviderProtocolError: a token or a page's content came again, or a limit is passed.
        """
        self.pages += 1
        self.rows += len(rows)
        self.raw_bytes += raw_bytes
        marks: list[str] = []
        if next_page is not None:
            marks.append(self._once("token", f"{query}\n{next_page}".encode()))
        if rows:
            marks.append(self._once("page", b"\n".join((str(query).encode(), *rows))))
        self._check_limits()
        return marks

    def _once(self, kind: str, value: bytes) -> str:
        mark = f"{kind[0]}{sha256(value).hexdigest()[:32]}"
        if mark in self._seen:
            raise ProviderProtocolError(_REPEATED[kind])
        self._seen.add(mark)
        return mark

    def _check_limits(self) -> None:
        for name in ("pages", "rows", "raw_bytes"):
            if getattr(self, name) > getattr(self.limits, name):
                raise ProviderProtocolError(
                    "The provider sends more than any slice should hold",
                    limit=f"{name}={getattr(self.limits, name)}",
                )
