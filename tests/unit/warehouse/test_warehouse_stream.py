from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from convergence.errors import (
    ConfigurationError,
    NotBootstrappedError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.warehouse.names import TableName, central_table
from convergence.warehouse.stream import BATCH_BYTES, BATCH_ROWS, append_rows, to_json_value
from support.fake_bigquery import FakeBigQuery, warehouse

LOG = central_table("org_audit_logs")


class Recording(FakeBigQuery):
    def __init__(self, answer: list[Any] | None = None) -> None:
        super().__init__()
        self.batches: list[tuple[list[Any], list[str]]] = []
        self.answer = answer or []

    def insert_rows_json(self, table: str, rows: Any, **options: Any) -> list[Any]:
        assert options["skip_invalid_rows"] is False
        assert options["ignore_unknown_values"] is False
        self.batches.append((rows, options["row_ids"]))
        super().insert_rows_json(table, rows, row_ids=options["row_ids"])
        return self.answer


def test_rows_go_in_batches_with_their_ids() -> None:
    fake = Recording()
    rows = [(f"id{number}", {"org_slug": "acme", "n": number}) for number in range(1201)]
    assert append_rows(warehouse(fake), LOG, rows) == 1201
    assert [len(batch) for batch, _ in fake.batches] == [BATCH_ROWS, BATCH_ROWS, 201]
    assert [row_id for _, ids in fake.batches for row_id in ids] == [row_id for row_id, _ in rows]


def test_large_rows_make_smaller_batches() -> None:
    fake = Recording()
    append_rows(
        warehouse(fake), LOG, [(str(n), {"text": "x" * (BATCH_BYTES // 2 - 100)}) for n in range(5)]
    )
    assert [len(batch) for batch, _ in fake.batches] == [2, 2, 1]


def test_nothing_is_no_call() -> None:
    fake = Recording()
    assert append_rows(warehouse(fake), LOG, []) == 0
    assert not fake.batches


def test_values_are_sent_without_loss() -> None:
    berlin = timezone(timedelta(hours=1))
    assert to_json_value(
        {
            "amount": Decimal("0.000000001"),
            "at": datetime(2025, 11, 25, 1, tzinfo=berlin),
            "day": date(2025, 11, 25),
            "raw": b"\x00",
            "flag": True,
            "totals": [{"amount": Decimal(5)}],
        }
    ) == {
        "amount": "0.000000001",
        "at": "2025-11-25T00:00:00+00:00",
        "day": "2025-11-25",
        "raw": "AA==",
        "flag": True,
        "totals": [{"amount": "5"}],
    }


@pytest.mark.parametrize("value", [1.5, datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None)])
def test_lossy_values_are_refused(value: object) -> None:
    with pytest.raises(ConfigurationError):
        to_json_value(value)


def _refusal(index: int, reason: str, message: str) -> dict[str, Any]:
    return {"index": index, "errors": [{"reason": reason, "location": "x", "message": message}]}


def test_a_bad_row_is_named_without_those_that_stopped_for_it() -> None:
    fake = Recording([_refusal(0, "stopped", ""), _refusal(1, "invalid", "Missing required field")])
    with pytest.raises(WarehouseError) as caught:
        append_rows(warehouse(fake), LOG, [("a", {"x": 1}), ("b", {})])
    assert caught.value.details["errors"] == ["row 1: x: Missing required field"]


def test_a_column_that_is_not_known_everywhere_yet_is_worth_a_retry() -> None:
    fake = Recording([_refusal(0, "invalid", "no such field: x.")])
    with pytest.raises(WarehouseUnavailableError):
        append_rows(warehouse(fake), LOG, [("a", {"x": 1})])


def test_a_missing_table() -> None:
    fake = Recording()
    fake.missing |= {str(LOG), "acme_dev.t"}
    with pytest.raises(NotBootstrappedError):
        append_rows(warehouse(fake), LOG, [("a", {"x": 1})])
    with pytest.raises(WarehouseUnavailableError):
        append_rows(warehouse(fake), TableName("acme_dev", "t"), [("a", {"x": 1})])
