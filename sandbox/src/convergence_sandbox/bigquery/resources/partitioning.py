"""How a table is partitioned: by time or by integer ranges, and the REST JSON of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from convergence_sandbox.bigquery.errors import invalid
from convergence_sandbox.bigquery.resources.fields import (
    Json,
    integer,
)


@dataclass(frozen=True, slots=True)
class TimePartitioning:
    """`type` DAY, HOUR, MONTH or YEAR; `field` None means by ingestion time."""

    type: str = "DAY"
    field: str | None = None
    expiration_ms: int | None = None

    @classmethod
    def from_rest(cls, data: Mapping[str, Any]) -> TimePartitioning:
        """Read `timePartitioning`."""
        kind = str(data.get("type") or "DAY").upper()
        if kind not in {"DAY", "HOUR", "MONTH", "YEAR"}:
            raise invalid(f"Invalid value for type: {kind} is not a valid value")
        return cls(kind, data.get("field") or None, integer(data.get("expirationMs")))

    def to_rest(self) -> Json:
        """Return the same, as REST JSON."""
        out: Json = {"type": self.type}
        if self.field is not None:
            out["field"] = self.field
        if self.expiration_ms is not None:
            out["expirationMs"] = str(self.expiration_ms)
        return out


@dataclass(frozen=True, slots=True)
class RangePartitioning:
    """Integer ranges [start, end) in steps of `interval`."""

    field: str
    start: int
    end: int
    interval: int

    @classmethod
    def from_rest(cls, data: Mapping[str, Any]) -> RangePartitioning:
        """Read `rangePartitioning`."""
        span = data.get("range") or {}
        numbers = [integer(span.get(key)) for key in ("start", "end", "interval")]
        if not data.get("field") or None in numbers:
            raise invalid("rangePartitioning needs field, range.start, range.end, range.interval")
        start, end, interval = (int(number or 0) for number in numbers)
        if interval <= 0 or start >= end:
            raise invalid("rangePartitioning.range is empty or its interval is not positive")
        return cls(str(data["field"]), start, end, interval)

    def to_rest(self) -> Json:
        """Return the same, as REST JSON."""
        span = {"start": str(self.start), "end": str(self.end), "interval": str(self.interval)}
        return {"field": self.field, "range": span}
