"""Find the days whose bill is missing or below the usage: they stay due for the bill."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Protocol

from convergence.providers.cost_streams import Stream

if TYPE_CHECKING:
    from convergence.runs.ledger import LedgerRow
    from convergence.runs.slices import SliceKey


class ContentReader(Protocol):
    """Reads the newest content of slices: `runs.ledger.Ledger`."""

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> Mapping[SliceKey, LedgerRow]:
        """Return the newest row with content of each slice."""


def find_uncovered_days(
    ledger: ContentReader,
    streams: Iterable[Stream],
    *,
    pipeline_id: str,
    orgs: Sequence[str],
    since: date,
) -> dict[str, set[date]]:
    """Return by org the days that a pipeline's bill does not cover yet.

    Args:
        ledger: the ledger; it is read only for a pipeline that publishes bills of such streams.
        streams: every cost stream.
        pipeline_id: the pipeline.
        orgs: the orgs.
        since: the oldest day of interest.
    """
    ids = [
        stream.pipeline_id
        for stream in streams
        if stream.declared.billed is not None
        and stream.declared.computed is not None
        and stream.declared.billed.pipeline == pipeline_id
    ]
    found: dict[str, set[date]] = defaultdict(set)
    if not ids or not orgs:
        return found
    for key, row in ledger.read_latest_of_pipelines(ids, orgs=orgs, since=since).items():
        # A covered day shows its bill alone.
        if {money.basis for money in row.totals} != {"billed"}:
            found[key.org_slug].add(key.day)
    return found
