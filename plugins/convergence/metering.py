"""Metering: the jobs, bytes, slot time and calls of a piece of work, counted for one org.

The packages that call BigQuery, Cloud KMS and providers count each ended job and each response. The
caller opens a meter around the work of one org. A meter belongs to the thread (the context) that
opened it, so that orgs in parallel threads have separate meters. Without one nothing is counted.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, TypeAlias


class Resource(StrEnum):
    """Kinds of used resources."""

    QUERY = "bigquery_query"
    LOAD = "bigquery_load"
    STREAM = "bigquery_stream"
    PROVIDER = "provider_call"
    KMS = "kms_call"


@dataclass(frozen=True, slots=True)
class Use:
    """An amount of one resource.

    Attributes:
        calls: jobs, or requests that were sent.
        retries: requests among them that were sent again.
        pages: pages of a provider's lists.
        bytes_received: of a provider's answers, unpacked.
        bytes_billed: what BigQuery bills: bytes that queries read, bytes that were streamed.
        slot_ms: BigQuery's slot time in milliseconds.
        rows_written: rows that jobs or streaming put into tables.
    """

    calls: int = 0
    retries: int = 0
    pages: int = 0
    bytes_received: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0
    rows_written: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(Use)}
        )


Used: TypeAlias = Mapping[Resource, Use]


class Meter:
    """Adds up; safe to share between threads.

    Attributes:
        labels: who is served, for the labels of jobs.
    """

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self.labels = dict(labels or {})
        self._lock = threading.Lock()
        self._used: dict[Resource, Use] = {}

    def count(self, resource: Resource, use: Use) -> None:
        """Add a use."""
        with self._lock:
            self._used[resource] = self._used.get(resource, Use()) + use

    @property
    def used(self) -> Used:
        """All so far, by resource."""
        with self._lock:
            return {one: self._used[one] for one in sorted(self._used)}


_meter: ContextVar[Meter | None] = ContextVar("convergence_meter", default=None)


@contextmanager
def metered(labels: Mapping[str, str] | None = None) -> Iterator[Meter]:
    """Count all that this thread does in the block, and label its queries."""
    meter = Meter(labels)
    before = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(before)


def record_usage(resource: Resource, use: Use) -> None:
    """Add a use to the current meter, if there is one."""
    meter = _meter.get()
    if meter is not None:
        meter.count(resource, use)


def labels_now() -> Mapping[str, str]:
    """Return the labels of the current meter; empty outside of a meter."""
    meter = _meter.get()
    return {} if meter is None else meter.labels


def add_usage(parts: Iterable[Used]) -> Used:
    """Add uses by resource."""
    found: dict[Resource, Use] = defaultdict(Use)
    for part in parts:
        for resource, use in part.items():
            found[resource] += use
    return {one: found[one] for one in sorted(found)}


def dump_usage(used: Used) -> dict[str, dict[str, int]]:
    """Return uses as JSON, without zeros."""
    return {
        resource.value: {name: value for name, value in asdict(use).items() if value}
        for resource, use in used.items()
    }


def load_usage(values: Mapping[str, Mapping[str, Any]] | None) -> Used:
    """Parse the JSON of `dump_usage`; None is no use."""
    return {Resource(name): Use(**use) for name, use in (values or {}).items()}
