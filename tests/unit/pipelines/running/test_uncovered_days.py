"""Days that a bill does not cover are found from what their authoritative rows show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal

from convergence.pipelines.running.uncovered_days import find_uncovered_days
from convergence.providers.cost_streams import Stream, list_streams
from convergence.providers.registry import load_registry_at
from convergence.runs.ledger import Action, LedgerRow
from convergence.runs.slices import Finality, SliceKey
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.day_file import Money

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIRST = date(2026, 11, 1)


def row(org: str, pipeline_id: str, day: int, *bases: str) -> LedgerRow:
    return LedgerRow(
        key=SliceKey(org, pipeline_id, "table", FIRST.replace(day=day)),
        action=Action.PUBLISHED,
        attempt=1,
        run_id="run_1",
        job_id="job",
        content_hash="hash",
        row_count=1,
        totals=tuple(Money(currency="USD", basis=basis, amount=Decimal(1)) for basis in bases),
        source_pages=0,
        finality=Finality.FINAL,
        checked_at=NOW,
        job_ended_at=NOW,
        replaced=None,
    )


class Ledger:
    """A ledger of fixed rows, which counts its reads."""

    def __init__(self, *rows: LedgerRow) -> None:
        self.rows = rows
        self.reads = 0

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> Mapping[SliceKey, LedgerRow]:
        self.reads += 1
        return {
            one.key: one
            for one in self.rows
            if one.key.pipeline_id in pipeline_ids and one.key.org_slug in orgs
        }


def shipped_streams() -> list[Stream]:
    return list_streams(load_registry_at(PROJECT_ROOT / "include" / "configs"))


def find(ledger: Ledger, pipeline_id: str) -> dict[str, set[date]]:
    return find_uncovered_days(
        ledger, shipped_streams(), pipeline_id=pipeline_id, orgs=["acme"], since=FIRST
    )


def test_days_that_show_computed_or_preliminary_cost_are_uncovered() -> None:
    stream = "openai-api-authoritative"
    ledger = Ledger(
        row("acme", stream, 1, "computed"),
        row("acme", stream, 2, "billed"),
        row("acme", stream, 3, "preliminary"),
        row("acme", stream, 4),
        row("beta", stream, 5, "computed"),
    )
    found = find(ledger, "openai-cost-extract")
    assert found == {"acme": {FIRST.replace(day=day) for day in (1, 3, 4)}}


def test_the_ledger_is_read_for_pipelines_of_bills_only() -> None:
    for pipeline_id in ("openai-usage-cost", "gcp-cost-billing", "deepseek-balance"):
        ledger = Ledger(row("acme", "openai-api-authoritative", 1, "computed"))
        assert find(ledger, pipeline_id) == {}
        assert ledger.reads == 0
