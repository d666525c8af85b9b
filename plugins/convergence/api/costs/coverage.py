"""Coverage: what each cost stream of an org shows for each day, and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from convergence.api.costs.dimensions import Filter
from convergence.providers.cost_streams import Basis, Stream, list_streams
from convergence.providers.registry import ProviderRegistry
from convergence.state import org_runs
from convergence.state.org_runs import ENDED, OrgRun, RunStatus
from convergence.state.store import StateStore

_WAITING = frozenset({"expected", "late"})
"""States of a bill that a failed run may explain."""


@dataclass(frozen=True)
class ConnectedStream:
    """A stream that an org has, or has published cost of.

    Attributes:
        stream: the stream.
        first_day: the first expected day; None if none is expected.
        last_day: the last expected day; None while the provider is connected.
        settle_days: days after which a bill is late.
    """

    stream: Stream
    first_day: date | None
    last_day: date | None
    settle_days: int

    def is_connected(self, day: date) -> bool:
        """Return whether the org had connected the stream on a day."""
        return (
            self.first_day is not None
            and day >= self.first_day
            and (self.last_day is None or day <= self.last_day)
        )


def list_connected(
    registry: ProviderRegistry,
    connections: Sequence[Mapping[str, Any]],
    shown_days: Sequence[Mapping[str, Any]],
    filters: Sequence[Filter],
) -> list[ConnectedStream]:
    """Return the streams that an org has connected or has published, in the registry's order.

    Args:
        registry: the providers.
        connections: by provider as tables name it, the first and the last connected day as text.
        shown_days: published days with their streams, sorted by day within a stream.
        filters: those by provider and by stream leave streams out.
    """
    periods = {one["provider"]: (one["first_day"], one["last_day"]) for one in connections}
    published: dict[str, str] = {}
    for one in shown_days:
        published.setdefault(one["stream"], one["day"])
    found = []
    for stream in list_streams(registry):
        provider = registry.get(stream.provider)
        first, last = periods.get(provider.table_id, (None, None))
        if stream.declared.optional and first is not None:
            # Without a connection of its own, its first published day says that the org has it.
            first = published.get(stream.id)
        if (first is not None or stream.id in published) and _is_selected(stream, filters):
            found.append(
                ConnectedStream(stream, _parse(first), _parse(last), provider.lookback_days)
            )
    return found


def _parse(day: str | None) -> date | None:
    return date.fromisoformat(day) if day else None


def _is_selected(stream: Stream, filters: Sequence[Filter]) -> bool:
    names = {"stream": stream.id, "provider": stream.provider}
    return all(names[one.dimension] in one.values for one in filters if one.dimension in names)


def build_coverage(
    streams: Sequence[ConnectedStream],
    shown_days: Sequence[dict[str, Any]],
    *,
    days: Sequence[date],
    today: date,
    store: StateStore,
    org_slug: str,
) -> list[dict[str, Any]]:
    """Return one entry for each stream and day, by stream.

    Args:
        streams: the org's streams.
        shown_days: the published days.
        days: the requested days, in order.
        today: the present UTC day.
        store: has the newest run of each pipeline, read only where a bill or usage is absent.
        org_slug: the org.
    """
    published = {(one["stream"], one["day"]): one for one in shown_days}
    entries: list[tuple[ConnectedStream, date, dict[str, Any]]] = []
    for one in streams:
        for day in days:
            shown = published.get((one.stream.id, day.isoformat()))
            entry = dict(shown) if shown else _build_absent(one, day)
            _set_bill_date(entry, day, settle_days=one.settle_days, today=today)
            entries.append((one, day, entry))
    _explain_failures(entries, today=today, store=store, org_slug=org_slug)
    return [entry for _, _, entry in entries]


def _build_absent(one: ConnectedStream, day: date) -> dict[str, Any]:
    """Return the state of a day of which nothing is published."""
    bill = usage = "not_connected"
    if one.is_connected(day):
        bases = one.stream.declared.bases
        bill = "expected" if "billed" in bases else "no_bill"
        usage = "missing" if "computed" in bases else "none"
    return {
        "day": day.isoformat(),
        "stream": one.stream.id,
        "shown": "none",
        "bill": bill,
        "usage": usage,
        "finality": None,
        "bill_run_id": None,
        "usage_run_id": None,
    }


def _set_bill_date(entry: dict[str, Any], day: date, *, settle_days: int, today: date) -> None:
    """Add the date of a bill that has not come, and say when it is late."""
    entry["bill_expected_on"] = None
    if entry["bill"] == "expected":
        expected_on = day + timedelta(days=1 + settle_days)
        entry["bill_expected_on"] = expected_on.isoformat()
        if today > expected_on:
            entry["bill"] = "late"


def _explain_failures(
    entries: Sequence[tuple[ConnectedStream, date, dict[str, Any]]],
    *,
    today: date,
    store: StateStore,
    org_slug: str,
) -> None:
    """Say which absent bill and usage a failed run explains, and name the run."""
    needed = {
        basis.pipeline
        for one, _, entry in entries
        for name, basis in one.stream.declared.bases.items()
        if _is_absent(entry, name)
    }
    failed = _find_failed_runs(store, org_slug, needed) if needed else {}
    for one, day, entry in entries:
        bases = one.stream.declared.bases
        if _is_absent(entry, "billed") and (run := failed.get(bases["billed"].pipeline)):
            entry["bill"], entry["bill_run_id"] = "unreadable", run.run_id
        if not _is_absent(entry, "computed"):
            continue
        run = failed.get(bases["computed"].pipeline)
        if run is not None and (not run.days or day in run.days):
            entry["usage"], entry["usage_run_id"] = "failed", run.run_id
        elif bases["computed"].observed and entry["shown"] == "none" and day < today:
            entry["usage"] = "not_observable"


def _is_absent(entry: Mapping[str, Any], basis: Basis) -> bool:
    return entry["bill"] in _WAITING if basis == "billed" else entry["usage"] == "missing"


def _find_failed_runs(
    store: StateStore, org_slug: str, pipeline_ids: Collection[str]
) -> dict[str, OrgRun]:
    """Return the newest ended run of each pipeline whose newest ended run failed."""
    with store.read() as conn:
        runs = {
            pipeline_id: org_runs.list_for_org(
                conn, org_slug, limit=1, statuses=ENDED, pipeline_id=pipeline_id
            )
            for pipeline_id in pipeline_ids
        }
    return {
        pipeline_id: found[0]
        for pipeline_id, found in runs.items()
        if found and found[0].status is RunStatus.FAILED
    }


def list_days(start: date, end: date) -> Iterator[date]:
    """Yield the days of a range, both ends included."""
    for number in range((end - start).days + 1):
        yield start + timedelta(days=number)
