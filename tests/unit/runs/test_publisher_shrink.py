"""A published day and lower reads of it: what stays, what the ledger keeps, and crashes between."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import WouldShrinkError
from convergence.runs.figure_columns import LowerRead
from convergence.runs.ledger import Action, Ledger, LedgerRow, SliceEnd
from convergence.runs.publisher import Publisher
from convergence.runs.shrink_guard import ShrinkAcceptance, ShrinkGuard
from convergence.runs.slice_states import CHECKED, ENDING
from convergence.runs.slices import Finality, SliceKey
from convergence.state.store import StateStore
from convergence.warehouse.day_file import DayFile, Figures, Measure, Money
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import FieldSpec, Partition, TableSchema
from support.fake_bigquery import CrashError, FakeBigQuery, warehouse

DAY = date(2026, 11, 17)
NOW = datetime(2026, 11, 19, 6, 0, tzinfo=UTC)
FINAL_AT = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
KEY = SliceKey("acme_corp", "openai-cost-extract", "openai_billed_daily", DAY)
TABLE = TableName("acme_corp_dev", "openai_billed_daily")
PARTITION = f"{TABLE}$20261117"
SCHEMA = TableSchema(
    table="openai_billed_daily",
    description="A table of the tests",
    partition=Partition(field="usage_date"),
    fields=(
        FieldSpec(name="usage_date", type="DATE", description="UTC day."),
        FieldSpec(name="usd", type="NUMERIC", description="Cost."),
    ),
)
OF_KEY = {"orgs": [KEY.org_slug], "pipeline_id": KEY.pipeline_id, "since": DAY}
ACCEPTED = ShrinkGuard(accepted=ShrinkAcceptance(first=DAY, last=DAY, reason="credit note"))


@dataclass
class Bill:
    """A bill's table, published by a new process each time."""

    fake: FakeBigQuery
    store: StateStore
    folder: Path

    def publish(
        self,
        *usd: int,
        now: datetime = NOW,
        run: str = "run_1",
        measured: bool = True,
        guard: ShrinkGuard | None = None,
    ) -> LedgerRow:
        w = warehouse(self.fake)
        return Publisher(w, self.store, Ledger(w)).publish_rows(
            KEY,
            self.seal(*usd, measured=measured),
            table=TABLE,
            schema=SCHEMA,
            run_id=run,
            now=now,
            settle_days=3,
            guard=guard or ShrinkGuard(),
        )

    def seal(self, *usd: int, measured: bool = True) -> DayFile:
        rows = [{"usage_date": DAY.isoformat(), "usd": str(one)} for one in usd]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / f"{digest}.ndjson.gz"
        path.write_bytes(gzip.compress(text.encode()))
        gross = Measure("USD", Decimal(sum(one for one in usd if one > 0)))
        figures = Figures("e1", len(rows), (gross,) if rows else ()) if measured else None
        totals = (Money("USD", "billed", Decimal(sum(usd))),)
        return DayFile(path, len(rows), digest, totals, source_pages=1, figures=figures)

    @property
    def content(self) -> list[int]:
        return [int(row["usd"]) for row in self.fake.partitions[PARTITION].rows]

    @property
    def newest(self) -> LedgerRow:
        return Ledger(warehouse(self.fake)).read_latest(**OF_KEY)[KEY]  # type: ignore[arg-type]

    @property
    def end(self) -> SliceEnd:
        return Ledger(warehouse(self.fake)).read_ends(CHECKED, **OF_KEY)[KEY]  # type: ignore[arg-type]


def make_bill(folder: Path) -> Bill:
    folder.mkdir(exist_ok=True)
    return Bill(FakeBigQuery(), StateStore.connect(f"sqlite:///{folder}/state.db"), folder)


@pytest.fixture
def bill(tmp_path: Path) -> Bill:
    return make_bill(tmp_path)


def test_the_ledger_keeps_the_figures_of_the_content(bill: Bill) -> None:
    row = bill.publish(60, 40)
    assert row.figures == Figures("e1", 2, (Measure("USD", Decimal(100)),))
    assert bill.newest == row


def test_a_first_lower_read_leaves_the_content_and_waits(bill: Bill) -> None:
    first = bill.publish(60, 40)
    row = bill.publish(30, 20, now=NOW + timedelta(days=1), run="run_2")
    assert bill.content == [60, 40]
    assert (row.action, row.content_hash) == (Action.UNCHANGED, first.content_hash)
    assert (row.figures, row.totals) == (first.figures, first.totals)
    expected = bill.seal(30, 20)
    assert expected.figures is not None
    assert bill.newest.lower_pending == LowerRead(
        figures=expected.figures,
        content_hash=expected.content_hash,
        read_at=NOW + timedelta(days=1),
    )


def test_an_equal_read_a_day_later_publishes_the_lower_content(bill: Bill) -> None:
    bill.publish(60, 40)
    bill.publish(30, 20, now=NOW + timedelta(days=1), run="run_2")
    row = bill.publish(30, 20, now=NOW + timedelta(days=2), run="run_3")
    assert (row.action, row.lower_pending) == (Action.PUBLISHED, None)
    assert bill.content == [30, 20]
    assert row.replaced is not None
    assert row.replaced.totals == (Money("USD", "billed", Decimal(100)),)


def test_a_waiting_day_stays_due_after_the_calendar_made_it_final(bill: Bill) -> None:
    bill.publish(60, 40)
    row = bill.publish(30, 20, now=FINAL_AT, run="run_2")
    assert (row.action, row.finality) == (Action.UNCHANGED, Finality.SETTLING)
    row = bill.publish(30, 20, now=FINAL_AT + timedelta(days=1), run="run_3")
    assert (row.action, row.finality) == (Action.PUBLISHED, Finality.FINAL)


def test_a_read_that_is_whole_again_ends_the_wait(bill: Bill) -> None:
    bill.publish(60, 40)
    bill.publish(30, 20, now=NOW + timedelta(days=1), run="run_2")
    row = bill.publish(60, 40, now=NOW + timedelta(hours=30), run="run_3")
    assert (row.action, row.lower_pending) == (Action.UNCHANGED, None)
    row = bill.publish(30, 20, now=NOW + timedelta(hours=40), run="run_4")
    assert row.lower_pending is not None
    assert row.lower_pending.read_at == NOW + timedelta(hours=40)


def test_a_source_that_says_unchanged_keeps_the_wait(bill: Bill) -> None:
    bill.publish(60, 40)
    bill.publish(30, 20, now=NOW + timedelta(days=1), run="run_2")
    w = warehouse(bill.fake)
    publisher = Publisher(w, bill.store, Ledger(w))
    attempts = publisher.begin_attempts([KEY])
    (row,) = publisher.confirm_unchanged(
        list(attempts.values()), table=TABLE, run_id="run_3", now=FINAL_AT, settle_days=3
    ).values()
    assert row.lower_pending is not None
    assert row.lower_pending.read_at == NOW + timedelta(days=1)
    assert row.finality is Finality.SETTLING


def test_three_reads_that_disagree_are_refused_and_a_confirmed_one_is_published(
    bill: Bill,
) -> None:
    bill.publish(60, 40)
    bill.publish(50, now=NOW + timedelta(days=1), run="run_2")
    bill.publish(40, now=NOW + timedelta(days=2), run="run_3")
    with pytest.raises(WouldShrinkError):
        bill.publish(30, now=NOW + timedelta(days=3), run="run_4")
    assert bill.content == [60, 40]
    assert bill.publish(30, now=NOW + timedelta(days=4), run="run_5").action is Action.PUBLISHED
    assert bill.content == [30]


def test_lower_content_of_a_final_day_is_refused_with_both_figures(bill: Bill) -> None:
    bill.publish(60, 40, now=FINAL_AT)
    with pytest.raises(WouldShrinkError) as caught:
        bill.publish(30, 20, now=FINAL_AT + timedelta(days=9), run="run_2")
    assert bill.content == [60, 40]
    assert caught.value.details == {
        "table": "openai_billed_daily",
        "day": "2026-11-17",
        "losses": ["amount in USD 100 -> 50"],
        "finality": "FINAL",
        "published": {"rows": 2, "gross": {"USD": "100"}, "quantities": {}},
        "read": {"rows": 2, "gross": {"USD": "50"}, "quantities": {}},
        "published_by": "run_1",
    }
    end = bill.end
    assert (end.action, end.finality, end.run_id) == (Action.REFUSED, Finality.FINAL, "run_2")
    assert end.lower_pending is not None
    assert end.lower_pending.refused_by == "run_2"


def test_empty_content_is_refused_and_the_day_is_not_asked_for_for_ever(bill: Bill) -> None:
    bill.publish(60, 40)
    for days, finality in ((1, Finality.SETTLING), (9, Finality.FINAL)):
        with pytest.raises(WouldShrinkError, match="states less"):
            bill.publish(now=NOW + timedelta(days=days), run=f"run_{days}")
        assert bill.end.finality is finality
    assert bill.content == [60, 40]
    assert bill.end.lower_pending is not None
    assert bill.end.lower_pending.refused_by == "run_1"


def test_accepted_lower_content_is_published_as_a_restatement(bill: Bill) -> None:
    bill.publish(60, 40, now=FINAL_AT)
    row = bill.publish(30, now=FINAL_AT + timedelta(days=9), run="run_2", guard=ACCEPTED)
    assert (row.action, row.finality) == (Action.PUBLISHED, Finality.RESTATED)
    assert bill.content == [30]
    assert bill.publish(now=FINAL_AT + timedelta(days=10), guard=ACCEPTED).row_count == 0


def test_rows_of_older_releases_are_not_comparable_until_they_are_read_again(bill: Bill) -> None:
    bill.publish(60, 40, now=FINAL_AT, measured=False)
    assert bill.newest.figures is None
    row = bill.publish(30, now=FINAL_AT + timedelta(days=1), run="run_2")
    assert row.action is Action.PUBLISHED


def test_an_equal_read_gives_figures_to_a_row_of_an_older_release(bill: Bill) -> None:
    bill.publish(60, 40, now=FINAL_AT, measured=False)
    row = bill.publish(60, 40, now=FINAL_AT + timedelta(days=1), run="run_2")
    assert (row.action, row.figures) == (Action.UNCHANGED, bill.seal(60, 40).figures)
    with pytest.raises(WouldShrinkError):
        bill.publish(30, now=FINAL_AT + timedelta(days=2), run="run_3")


def test_lower_content_cannot_wait_where_the_partition_was_changed(bill: Bill) -> None:
    """UNCHANGED would say that the partition holds what was published."""
    bill.publish(60, 40)
    bill.fake.write(PARTITION, [])
    with pytest.raises(WouldShrinkError):
        bill.publish(30, now=NOW + timedelta(days=1), run="run_2")
    row = bill.publish(30, now=NOW + timedelta(days=2), run="run_3")
    assert row.action is Action.PUBLISHED


@pytest.mark.parametrize(("last", "refused"), [((50,), False), ((), True)])
def test_a_crash_at_any_call_and_a_retry_end_as_without_a_crash(
    tmp_path: Path, last: tuple[int, ...], refused: bool
) -> None:
    edges = 12
    for number in range(1, edges):
        bill = make_bill(tmp_path / str(number))
        bill.publish(60, 40)
        bill.fake.at = _crash_at(number)
        later = NOW + timedelta(days=1)
        with suppress(CrashError, WouldShrinkError):
            bill.publish(*last, now=later, run="run_2")
        bill.fake.at = lambda _: None
        if refused:
            with pytest.raises(WouldShrinkError):
                bill.publish(*last, now=later, run="run_2")
        else:
            bill.publish(*last, now=later, run="run_2")
        bill.fake.commit_orphans()
        assert bill.content == [60, 40]
        lower = bill.end.lower_pending
        assert lower is not None
        assert (lower.reads, lower.read_at) == (1, later)
        assert lower.refused_by == ("run_2" if refused else None)
        assert (bill.end.action is Action.REFUSED) is refused


def test_a_refused_slice_is_ended_for_an_older_attempt(bill: Bill) -> None:
    bill.publish(60, 40, now=FINAL_AT)
    with pytest.raises(WouldShrinkError):
        bill.publish(30, now=FINAL_AT + timedelta(days=1), run="run_2")
    ends = Ledger(warehouse(bill.fake)).read_ends(ENDING, **OF_KEY)  # type: ignore[arg-type]
    assert (ends[KEY].action, ends[KEY].attempt) == (Action.REFUSED, 2)


def _crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def at(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise CrashError

    return at
