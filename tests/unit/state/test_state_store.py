"""The store itself, idempotency keys, the outbox and what is forgotten, on SQLite."""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import Connection

from convergence.errors import StateUnavailableError, WarehouseError, WarehouseUnavailableError
from convergence.state import attempts, idempotency, outbox
from convergence.state.idempotency import ClaimInFlight, KeyClaim, KeyMismatch, StoredResponse
from convergence.state.outbox import RowBatch
from convergence.state.retention import prune_store
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'er' / 'state.db'}"


@pytest.fixture
def store(url: str) -> StateStore:
    return StateStore.connect(url)


def test_an_exception_undoes_the_whole_transaction(store: StateStore) -> None:
    def fail() -> None:
        with store.begin() as conn:
            attempts.next_attempt(conn, "slice")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with store.read() as conn:
        assert attempts.newest_attempt(conn, "slice") == 0


def test_a_reader_does_not_wait_for_a_writer(store: StateStore) -> None:
    with store.begin() as writer:
        attempts.next_attempt(writer, "slice")
        with store.read() as reader:
            assert attempts.newest_attempt(reader, "slice") == 0


def test_a_database_that_does_not_answer_is_a_named_error_without_password() -> None:
    with pytest.raises(StateUnavailableError) as caught:
        StateStore.connect("postgresql://state:hunter2secret@127.0.0.1:1/none")
    assert "hunter2secret" not in str(caught.value)


def test_a_writer_is_alone_before_its_first_statement(store: StateStore, url: str) -> None:
    """A transaction that read first and wrote later would fail where another wrote between."""
    other = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.05)
    with store.begin(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()


def test_a_child_process_opens_its_own_connections(store: StateStore) -> None:
    with store.begin() as conn:
        attempts.next_attempt(conn, "slice")
        inherited = conn.connection.dbapi_connection
    child = os.fork()
    if child == 0:
        with store.begin() as conn:
            attempts.next_attempt(conn, "slice")
            own = conn.connection.dbapi_connection is not inherited
        os._exit(0 if own else 1)
    assert os.waitpid(child, 0)[1] == 0
    with store.begin() as conn:
        assert attempts.next_attempt(conn, "slice") == 3


def claim(
    conn: Connection, *, request_hash: str = "one", now: datetime = NOW
) -> KeyClaim | StoredResponse | KeyMismatch | ClaimInFlight:
    return idempotency.claim_key(conn, "acme_corp", "key", request_hash=request_hash, now=now)


def test_naive_times_are_refused(store: StateStore) -> None:
    with store.begin() as conn, pytest.raises(Exception, match="without a time zone"):
        claim(conn, now=datetime(2026, 11, 21))  # noqa: DTZ001  # the point of the test


def test_attempts_go_on_from_what_the_ledger_knows(store: StateStore) -> None:
    with store.begin() as conn:
        assert attempts.next_attempt(conn, "slice", at_least=7) == 8
        assert attempts.next_attempt(conn, "slice", at_least=3) == 9
        assert attempts.next_attempt(conn, "slice", at_least=20) == 21
        assert attempts.next_attempt(conn, "other") == 1


# --- idempotency --------------------------------------------------------------------------------


def test_a_key_is_in_flight_then_replayed_and_never_for_another_request(
    store: StateStore,
) -> None:
    with store.begin() as conn:
        first = claim(conn)
        assert isinstance(first, KeyClaim)
        assert claim(conn) == ClaimInFlight()
        assert claim(conn, request_hash="two") == KeyMismatch()
        assert idempotency.complete_claim(conn, first, status=202, body={"run_id": "run_1"})
        assert claim(conn) == StoredResponse(202, {"run_id": "run_1"})
        assert claim(conn, request_hash="two") == KeyMismatch()


def test_a_released_or_ended_key_is_free_again(store: StateStore) -> None:
    with store.begin() as conn:
        first = claim(conn)
        assert isinstance(first, KeyClaim)
        assert idempotency.release_claim(conn, first)
        second = claim(conn, request_hash="two")
        assert isinstance(second, KeyClaim)
        idempotency.complete_claim(conn, second, status=200, body={})
        later = NOW + idempotency.KEY_LIFETIME
        assert isinstance(claim(conn, now=later), KeyClaim)


def test_a_claimant_that_died_is_replaced_and_can_answer_no_more(store: StateStore) -> None:
    with store.begin() as conn:
        dead = claim(conn)
        assert isinstance(dead, KeyClaim)
        later = NOW + idempotency.MAX_RESPONSE_TIME
        assert claim(conn, now=later - timedelta(seconds=1)) == ClaimInFlight()
        assert isinstance(claim(conn, now=later), KeyClaim)
        assert not idempotency.complete_claim(conn, dead, status=200, body={"stale": True})
        assert not idempotency.release_claim(conn, dead)
        assert claim(conn, now=later) == ClaimInFlight()


# --- outbox -------------------------------------------------------------------------------------


def fill(store: StateStore, *numbers: int, table: str = "audit") -> None:
    with store.begin() as conn:
        for number in numbers:
            outbox.enqueue_row(conn, table, {"number": number})


class Sink:
    def __init__(self) -> None:
        self.rows: list[tuple[str, int]] = []
        self.ids: list[str] = []
        self.poison: set[int] = set()
        self.down: set[str] = set()
        self.dies_after = False

    def __call__(self, table: str, rows: RowBatch) -> None:
        if table in self.down:
            raise WarehouseUnavailableError("down")
        if any(row["number"] in self.poison for _, row in rows):
            raise WarehouseError("does not fit")
        self.rows += [(table, row["number"]) for _, row in rows]
        self.ids += [row_id for row_id, _ in rows]
        if self.dies_after:
            raise KeyboardInterrupt


def test_rows_are_shipped_in_order_then_gone(store: StateStore) -> None:
    fill(store, *range(7))
    sink = Sink()
    assert outbox.ship_rows(store, sink, limit=3) == 7
    assert [number for _, number in sink.rows] == list(range(7))
    assert outbox.ship_rows(store, sink) == 0


def test_a_shipper_that_dies_after_the_sink_sends_again_under_the_same_ids(
    store: StateStore,
) -> None:
    fill(store, 1, 2)
    sink = Sink()
    sink.dies_after = True
    with pytest.raises(KeyboardInterrupt):
        outbox.ship_rows(store, sink)
    sink.dies_after = False
    assert outbox.ship_rows(store, sink) == 2
    assert sink.rows == [("audit", 1), ("audit", 2)] * 2
    assert sink.ids[:2] == sink.ids[2:]


def test_a_table_that_is_down_keeps_its_rows_and_holds_up_no_other(store: StateStore) -> None:
    fill(store, 1, table="audit")
    fill(store, 2, table="runs")
    sink = Sink()
    sink.down = {"audit"}
    with pytest.raises(WarehouseUnavailableError):
        outbox.ship_rows(store, sink)
    assert sink.rows == [("runs", 2)]
    sink.down = set()
    assert outbox.ship_rows(store, sink) == 1
    assert sink.rows == [("runs", 2), ("audit", 1)]


def test_a_row_refused_for_good_is_set_aside_and_the_rest_goes_on(store: StateStore) -> None:
    fill(store, 1, 2, 3)
    sink = Sink()
    sink.poison = {2}
    assert outbox.ship_rows(store, sink) == 2
    assert sink.rows == [("audit", 1), ("audit", 3)]
    with store.read() as conn:
        assert [(table, why) for table, _, why in outbox.list_rejected_rows(conn)] == [
            ("audit", "does not fit")
        ]
        assert outbox.count_waiting_rows(conn) == 0


def test_two_shippers_never_hold_one_table_at_once(store: StateStore) -> None:
    fill(store, 1)
    sink = Sink()

    def sink_that_is_overtaken(table: str, rows: RowBatch) -> None:
        if not sink.rows:
            fill(store, 2)
            assert outbox.ship_rows(store, sink) == 0
        sink(table, rows)

    # The one that holds the lease takes what the other found waiting as well.
    assert outbox.ship_rows(store, sink_that_is_overtaken) == 2
    assert sink.rows == [("audit", 1), ("audit", 2)]


def test_amounts_and_days_keep_their_exact_form(store: StateStore) -> None:
    taken: list[dict[str, object]] = []
    with store.begin() as conn:
        row = {"day": date(2026, 11, 20), "at": NOW, "amount": Decimal("12345678901234567.89")}
        outbox.enqueue_row(conn, "audit", row)
        with pytest.raises(TypeError):
            outbox.enqueue_row(conn, "audit", {"secret": object()})
    outbox.ship_rows(store, lambda _table, rows: taken.extend(row for _, row in rows))
    assert taken == [
        {
            "day": "2026-11-20",
            "at": "2026-11-21T12:00:00.000000Z",
            "amount": "12345678901234567.89",
        }
    ]


# --- retention ----------------------------------------------------------------------------------


def test_pruning_takes_ended_keys_and_leaves_the_others(store: StateStore) -> None:
    with store.begin() as conn:
        claim(conn)
    assert prune_store(store, now=NOW + timedelta(hours=1)).idempotency_keys == 0
    assert prune_store(store, now=NOW + timedelta(hours=25)).idempotency_keys == 1


def test_the_file_is_in_wal_mode(store: StateStore, url: str) -> None:
    store.close()
    with sqlite3.connect(url.removeprefix("sqlite:///")) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
