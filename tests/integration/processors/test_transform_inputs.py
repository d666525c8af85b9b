"""Tables filled by SQL: done when their inputs are equal, whatever the run, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import InputChangedError, InputNotAsRecordedError
from convergence.processors.generic.config import LocalBqTransformerConfig
from convergence.processors.lib.transform.transform import transform
from convergence.processors.lib.transform.whole_table import ALL_DAYS
from convergence.runs.ledger import Action, LedgerRow, SliceEnd
from convergence.runs.slices import Finality, SliceKey
from convergence.warehouse.partitions.fill import query_table
from support.cost_books import DAY, USAGE, Books, new_run, usage_rows
from support.custom_configs import make
from support.processor_env import USAGE_COST, OrgEnv

DAILY, WHOLE = "tokens_daily", "price_summary"
PRICES = "openai_model_pricing"
FACTS = replace(USAGE_COST, tables=(USAGE, DAILY))
FILES: dict[str, Any] = {
    "own/daily.sql": (
        "SELECT usage_date, SUM(input_tokens) AS tokens FROM"
        " `{{ project }}.{{ dataset }}.{{ usage }}` WHERE usage_date = @day GROUP BY usage_date"
    ),
    "own/whole.sql": (
        "SELECT COUNT(*) AS prices, SUM(input_per_million) AS total FROM"
        " `{{ project }}.{{ dataset }}.{{ prices }}`"
    ),
    "own/whole_now.sql": (
        "SELECT COUNT(*) AS prices, CAST(NULL AS NUMERIC) AS total FROM"
        " `{{ project }}.{{ dataset }}.{{ prices }}` WHERE updated_at < @now"
    ),
    "own/schemas/tokens_daily.json": {
        "table": DAILY,
        "description": "Tokens of each day",
        "partition": {"field": "usage_date", "type": "DAY", "require_filter": False},
        "fields": [
            {"name": "usage_date", "type": "DATE", "description": "UTC day"},
            {"name": "tokens", "type": "INT64", "description": "Input tokens"},
        ],
    },
    "own/schemas/price_summary.json": {
        "table": WHOLE,
        "description": "How many prices there are",
        "fields": [
            {"name": "prices", "type": "INT64", "description": "Prices"},
            {"name": "total", "type": "NUMERIC", "description": "Their sum"},
        ],
    },
}
A, B = 163_000, 249_254


class Transformed:
    """An org with a table by day, made from slices, and one as a whole, made from prices."""

    def __init__(self, org: OrgEnv, folder: Path) -> None:
        self.books = Books(org, folder)
        self.org = org.served_by(configs_dir=make(folder / "configs", FILES))

    def daily(self, *, run_id: str | None = None, attempt: int = 1) -> Action:
        self.run_daily(run_id=run_id, attempt=attempt)
        return self.row(DAILY).action

    def run_daily(self, *, run_id: str | None = None, attempt: int = 1) -> None:
        self._run(
            LocalBqTransformerConfig.from_values(
                {
                    "sql_file": "own/daily.sql",
                    "destination": {"table": DAILY, "schema_file": "own/schemas/tokens_daily.json"},
                    "reads": {"usage": USAGE},
                }
            ),
            run_id,
            attempt,
        )

    def whole(self, *, run_id: str | None = None, attempt: int = 1, sql: str = "whole") -> Action:
        self._run(
            LocalBqTransformerConfig.from_values(
                {
                    "sql_file": f"own/{sql}.sql",
                    "destination": {
                        "table": WHOLE,
                        "schema_file": "own/schemas/price_summary.json",
                    },
                    "reads": {"prices": PRICES},
                    "partition": "none",
                }
            ),
            run_id,
            attempt,
        )
        return self.row(WHOLE).action

    def _run(self, config: LocalBqTransformerConfig, run_id: str | None, attempt: int) -> None:
        context = self.org.context(
            [DAY], run_id=run_id or new_run(), attempt=attempt, pipeline=FACTS
        )
        transform(context, config)

    def row(self, table: str) -> LedgerRow:
        latest = self.org.env.services.ledger.read_latest(
            orgs=[self.org.slug], pipeline_id=FACTS.pipeline_id
        )
        day = DAY if table == DAILY else ALL_DAYS
        return latest[SliceKey(self.org.slug, FACTS.pipeline_id, table, day)]

    @property
    def tokens(self) -> int:
        return int(self.org.rows(DAILY)[0]["tokens"])

    @property
    def total(self) -> str:
        return format(self.org.rows(WHOLE)[0]["total"].normalize(), "f")


@pytest.fixture
def transformed(org: OrgEnv, tmp_path: Path) -> Transformed:
    return Transformed(org, tmp_path)


def test_a_day_is_done_when_its_slices_are_equal_and_earlier_ones_publish_again(
    transformed: Transformed,
) -> None:
    for tokens in (A, B, A):
        transformed.books.extract(usage_rows(tokens))
        assert transformed.daily() is Action.PUBLISHED
        assert transformed.tokens == tokens
    assert transformed.daily() is Action.UNCHANGED


def test_a_cleared_day_follows_slices_that_changed_since(transformed: Transformed) -> None:
    run_id = new_run()
    transformed.books.extract(usage_rows(A))
    transformed.daily(run_id=run_id)
    transformed.books.extract(usage_rows(B))
    assert transformed.daily(run_id=run_id, attempt=2) is Action.PUBLISHED
    assert transformed.tokens == B


def test_a_slice_that_is_not_as_recorded_is_recovered_or_refused(transformed: Transformed) -> None:
    transformed.books.extract(usage_rows(A))
    transformed.books.extract(usage_rows(B), killed=True)
    transformed.daily()
    assert transformed.tokens == B
    table = transformed.org.table(USAGE)
    transformed.org.env.ask(f"DELETE FROM {table} WHERE usage_date = '{DAY}'")
    with pytest.raises(InputNotAsRecordedError):
        transformed.daily()
    assert transformed.tokens == B


def test_a_whole_table_is_done_when_its_inputs_are_equal(transformed: Transformed) -> None:
    for price in ("1", "2", "1"):
        transformed.books.put_price(price)
        assert transformed.whole() is Action.PUBLISHED
        assert transformed.total == price
        assert transformed.whole() is Action.UNCHANGED


def test_a_cleared_whole_table_follows_inputs_that_changed_since(transformed: Transformed) -> None:
    run_id = new_run()
    transformed.books.put_price("1")
    transformed.whole(run_id=run_id)
    transformed.books.put_price("2")
    assert transformed.whole(run_id=run_id, attempt=2) is Action.PUBLISHED
    assert transformed.total == "2"


def test_a_whole_table_that_something_else_wrote_is_replaced(transformed: Transformed) -> None:
    transformed.books.put_price("1")
    transformed.whole()
    transformed.org.env.ask(f"UPDATE {transformed.org.table(WHOLE)} SET total = 9 WHERE TRUE")
    assert transformed.whole() is Action.PUBLISHED
    assert transformed.total == "1"


def test_a_whole_table_that_depends_on_the_present_is_made_by_every_run(
    transformed: Transformed,
) -> None:
    transformed.books.put_price("1")
    run_id = new_run()
    assert transformed.whole(sql="whole_now", run_id=run_id) is Action.PUBLISHED
    assert transformed.whole(sql="whole_now", run_id=run_id, attempt=2) is Action.UNCHANGED
    assert transformed.whole(sql="whole_now") is Action.PUBLISHED


@pytest.mark.parametrize("times", [1, 5])
def test_a_whole_table_whose_input_changes_while_it_is_read_is_read_again(
    transformed: Transformed, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    transformed.books.put_price("1")
    left = [times]

    def changing(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            transformed.books.put_price(str(left[0] + 2))
        return query_table(*args, **kwargs)

    monkeypatch.setattr("convergence.processors.lib.transform.whole_table.query_table", changing)
    run: Callable[[], Action] = transformed.whole
    if times > 1:
        with pytest.raises(InputChangedError):
            run()
    else:
        assert run() is Action.PUBLISHED
        assert transformed.total == "2"
        assert run() is Action.UNCHANGED


def test_a_day_that_its_provider_does_not_show_any_more_is_not_made(
    transformed: Transformed,
) -> None:
    services = transformed.org.env.services
    services.ledger.append_rows(
        [
            SliceEnd(
                key=SliceKey(transformed.org.slug, FACTS.pipeline_id, USAGE, DAY),
                action=Action.NOT_OBSERVABLE,
                attempt=0,
                run_id=new_run(),
                finality=Finality.FINAL,
                checked_at=services.now(),
            )
        ]
    )
    transformed.run_daily()
    assert transformed.org.rows(DAILY) == []
    ends = services.ledger.read_ends(
        {Action.NOT_OBSERVABLE}, orgs=[transformed.org.slug], pipeline_id=FACTS.pipeline_id
    )
    assert {key.table for key in ends} == {USAGE, DAILY}
