"""History of a slice: the ledger has each change of the provider's data at every moment."""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from convergence.runs.ledger import Action, Ledger, LedgerRow, Replaced
from convergence.runs.publisher import Publisher
from convergence.runs.slices import Finality, SliceKey, compute_finality
from convergence.state.store import StateStore
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.names import TableName
from convergence.warehouse.schemas import TableSchema
from support.fake_bigquery import FakeBigQuery, warehouse

DAY = date(2026, 11, 17)
KEY = SliceKey("acme_corp", "openai-usage-cost", "usage", DAY)
TABLE = TableName("acme_corp_dev", "usage")
SETTLE_DAYS = 3
SCHEMA = TableSchema.model_validate(
    {
        "table": "usage",
        "description": "A table of the tests",
        "partition": {"field": "usage_date", "type": "DAY"},
        "fields": [
            {"name": "usage_date", "type": "DATE", "mode": "REQUIRED", "description": "UTC day."},
            {"name": "cost", "type": "NUMERIC", "description": "Cost in USD."},
        ],
    }
)
# How long after the last look the next one is, in hours, and what the provider says the day cost.
Look = tuple[int, int]
looks = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2)), min_size=1, max_size=8)


def seal(folder: Path, cents: int) -> DayFile:
    text = json.dumps({"usage_date": DAY.isoformat(), "cost": f"{cents}.25"}) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = folder / f"{digest}.ndjson.gz"
    path.write_bytes(gzip.compress(text.encode()))
    total = Money("USD", "billed", Decimal(f"{cents}.25"))
    return DayFile(path, 1, digest, (total,), source_pages=1)


def life(told: Sequence[Look]) -> list[LedgerRow]:
    """The ledger's row after each look, read back from the ledger."""
    with tempfile.TemporaryDirectory() as name:
        fake = FakeBigQuery()
        w = warehouse(fake)
        store = StateStore.connect(f"sqlite:///{name}/state.db")
        publisher, now = Publisher(w, store, Ledger(w)), datetime(2026, 11, 17, tzinfo=UTC)
        rows = []
        for number, (hours, cents) in enumerate(told):
            now += timedelta(hours=hours)
            fake.clock = now
            publisher.publish_rows(
                KEY,
                seal(Path(name), cents),
                table=TABLE,
                schema=SCHEMA,
                run_id=f"run_{number}",
                now=now,
                settle_days=SETTLE_DAYS,
            )
            found = Ledger(w).read_latest(
                orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY
            )
            rows.append(found[KEY])
        store.close()
        return rows


@given(looks)
def test_a_day_is_restated_exactly_when_it_changes_after_it_was_final(told: list[Look]) -> None:
    before: LedgerRow | None = None
    for row, (_, cents) in zip(life(told), told, strict=True):
        assert row.totals == (Money("USD", "billed", Decimal(f"{cents}.25")),)
        calendar = compute_finality(DAY, row.checked_at, SETTLE_DAYS)
        changed = before is not None and before.totals != row.totals
        settled = before is not None and before.finality in {Finality.FINAL, Finality.RESTATED}
        expected = Finality.RESTATED if changed and settled else calendar
        assert row.finality is expected
        before = row


@given(looks)
def test_the_old_totals_stand_beside_the_new_ones_wherever_a_day_changed(told: list[Look]) -> None:
    rows = life(told)
    assert rows[0].replaced is None
    for before, row in pairwise(rows):
        if before.content_hash == row.content_hash:
            assert (row.action, row.replaced) == (Action.UNCHANGED, None)
        else:
            assert row.action is Action.PUBLISHED
            assert row.replaced == Replaced(before.run_id, before.row_count, before.totals)


@given(looks)
def test_only_a_restatement_leads_away_from_final(told: list[Look]) -> None:
    order = [Finality.OPEN, Finality.SETTLING, Finality.FINAL]
    rows = life(told)
    for before, row in pairwise(rows):
        if row.finality is Finality.RESTATED:
            assert before.finality in {Finality.FINAL, Finality.RESTATED}
        elif before.finality is not Finality.RESTATED:
            assert order.index(row.finality) >= order.index(before.finality)
        else:
            assert row.finality is Finality.FINAL
