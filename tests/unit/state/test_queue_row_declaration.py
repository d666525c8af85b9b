"""The queue's row is declared once: the dataclass, the table, the log and the restore agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from convergence.settings import PROJECT_ROOT
from convergence.state import outbox
from convergence.state.queueing import queue
from convergence.state.queueing.queue_log import QUEUE_LOG
from convergence.state.queueing.queued_run import (
    QueuedRun,
    QueueStatus,
    build_log_row,
    list_stored_fields,
    parse_log_row,
)
from convergence.state.schema.tables import execution_queue
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
FULL = QueuedRun(
    org_slug="acme_corp",
    pipeline_id="openai-usage-cost",
    dag_id="openai.cost.usage_cost",
    provider="OPENAI",
    requested_by="key_1",
    enqueued_at=NOW,
    trigger="schedule",
    days=(date(2026, 11, 20), date(2026, 11, 19)),
    params={"model": "gpt", "count": 2},
    priority=7,
    request_id="req_1",
    status=QueueStatus.STARTED,
    reason="a reason",
    run_id="run_1",
    ended_at=NOW,
    debited=False,
    follows="que_0",
    schedule="@daily",
    due_at=NOW,
    not_before=NOW,
    queue_id="que_1",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def log_schema() -> dict[str, dict[str, Any]]:
    path = PROJECT_ROOT / f"include/configs/setup/bootstrap/schemas/{QUEUE_LOG}.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    columns = found if isinstance(found, list) else found["fields"]
    return {column["name"]: column for column in columns}


def test_the_sample_sets_every_field_to_a_value_that_is_no_default() -> None:
    default = QueuedRun("", "", "", None, "", NOW)
    assert not [one.name for one in fields(FULL) if getattr(FULL, one.name) is None]
    assert not [
        one.name
        for one in fields(FULL)
        if one.name != "enqueued_at" and getattr(FULL, one.name) == getattr(default, one.name)
    ]


def test_the_table_has_the_fields_of_the_dataclass() -> None:
    names = [one.name for one in fields(QueuedRun)]
    assert list(list_stored_fields()) == names
    assert [column.name for column in execution_queue.columns] == names
    assert [column.name for column in execution_queue.primary_key] == ["queue_id"]


def test_an_entry_comes_back_from_the_table_as_it_was(store: StateStore) -> None:
    with store.begin() as conn:
        queue.add_entry(conn, FULL)
        assert queue.get_entry(conn, "que_1") == FULL


def test_the_log_has_every_logged_field_and_its_schema_has_no_other(store: StateStore) -> None:
    with store.begin() as conn:
        queue.add_entry(conn, FULL)
        (row,) = outbox.list_waiting_rows(conn, QUEUE_LOG)
    assert set(row) == set(log_schema())
    assert set(build_log_row(FULL)) == set(log_schema()) - {"recorded_at"}


def test_an_entry_comes_back_from_the_log_but_for_what_is_not_logged() -> None:
    unlogged = {name: None for name, one in list_stored_fields().items() if not one.logged}
    assert list(unlogged) == ["not_before"]
    row = build_log_row(FULL) | {"recorded_at": NOW}
    assert parse_log_row(row) == replace(FULL, **unlogged)  # type: ignore[arg-type]  # None


def test_rows_of_releases_without_the_later_columns_are_read() -> None:
    row = build_log_row(replace(FULL, params={})) | {"debited": None, "params": None}
    assert parse_log_row(row).debited
    assert parse_log_row(row).params == {}
