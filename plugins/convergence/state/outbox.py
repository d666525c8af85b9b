"""The outbox: rows committed with the change they describe, shipped to the warehouse later.

The rows of one table are delivered in the order of their ids and at least once: one shipper holds
the table's lease, and a row is deleted only after the sink took it. When a shipper dies, its lease
expires, and its rows are sent again under the same ids.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select, update

from convergence.errors import FatalError
from convergence.state.schema.json_encoding import encode_row
from convergence.state.schema.tables import insert_if_absent, outbox, outbox_leases
from convergence.state.store import StateStore

SHIPPING_LEASE = timedelta(seconds=120)
_ENQUEUE = outbox.insert()

RowBatch = list[tuple[str, dict[str, Any]]]
RowSink = Callable[[str, RowBatch], None]


def enqueue_row(conn: Connection, table: str, row: Mapping[str, Any]) -> str:
    """Add a row for a warehouse table in the caller's transaction; return its insert id.

    Values take the wire form of BigQuery's JSON rows: dates and times as ISO 8601, Decimals as
    strings, so that no amount passes through a float.
    """
    row_id = uuid.uuid4().hex
    text = encode_row(row)
    now = datetime.now(UTC)
    values = {"row_id": row_id, "table_name": table, "row": text, "enqueued_at": now}
    conn.execute(_ENQUEUE, values)
    return row_id


def ship_rows(
    store: StateStore, sink: RowSink, *, limit: int = 500, lease: timedelta = SHIPPING_LEASE
) -> int:
    """Send all waiting rows to the sink, table by table, at most `limit` rows per call of it.

    A table whose lease another shipper holds is skipped: that shipper also sends the rows that
    were committed before this call.

    Returns:
        The number of rows that the sink took.

    Raises:
        Exception: the first error of the sink, after all other tables were tried.
    """
    shipped, failure = 0, None
    for table in _tables_waiting(store):
        courier = _TableShipper(store, table=table, limit=limit, lease=lease)
        try:
            courier.deliver(sink)
        except Exception as error:  # noqa: BLE001  # an error in one table must not stop the others
            failure = failure or error
        shipped += courier.shipped
    if failure is not None:
        raise failure
    return shipped


def count_waiting_rows(conn: Connection) -> int:
    """Count the rows that wait to be shipped."""
    query = select(func.count()).select_from(outbox).where(outbox.c.rejection.is_(None))
    return int(conn.execute(query).scalar_one())


def list_waiting_rows(conn: Connection, table: str) -> list[dict[str, Any]]:
    """Return the rows of one table that wait to be shipped, as JSON values, oldest first."""
    return [row for _, row in list_waiting_entries(conn, table)]


def list_waiting_entries(conn: Connection, table: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (row id, row) of the rows of one table that wait to be shipped, oldest first."""
    query = select(outbox.c.row_id, outbox.c.row).where(outbox.c.table_name == table)
    return [(row.row_id, json.loads(row.row)) for row in conn.execute(query.order_by(outbox.c.id))]


def rewrite_row(conn: Connection, row_id: str, row: Mapping[str, Any]) -> None:
    """Change a waiting row; call it only while no other process ships the row's table."""
    text = encode_row(row)
    conn.execute(update(outbox).where(outbox.c.row_id == row_id).values(row=text))


def list_rejected_rows(conn: Connection) -> list[tuple[str, str, str]]:
    """Return (table, row id, reason) of the rows that the warehouse rejected, oldest first."""
    query = select(outbox.c.table_name, outbox.c.row_id, outbox.c.rejection)
    rows = conn.execute(query.where(outbox.c.rejection.is_not(None)).order_by(outbox.c.id))
    return [(row.table_name, row.row_id, row.rejection) for row in rows]


@dataclass
class _TableShipper:
    """Ships one table's rows while it holds that table's lease."""

    store: StateStore
    table: str
    limit: int
    lease: timedelta
    shipped: int = 0

    def __post_init__(self) -> None:
        self._owner = uuid.uuid4().hex

    def deliver(self, sink: RowSink) -> None:
        ids: list[int] = []
        try:
            while batch := self._next_batch(done=ids):
                ids = [number for number, _, _ in batch]
                self._send(sink, batch)
        except BaseException:
            self._let_go()
            raise

    def _send(self, sink: RowSink, batch: Sequence[tuple[int, str, dict[str, Any]]]) -> None:
        try:
            sink(self.table, [(row_id, row) for _, row_id, row in batch])
        except FatalError as error:
            if len(batch) == 1:
                self._set_aside(batch[0][0], error)
                return
            for single in batch:
                self._send(sink, [single])
        else:
            self.shipped += len(batch)

    def _next_batch(self, *, done: Sequence[int]) -> list[tuple[int, str, dict[str, Any]]]:
        """Delete the sent rows, renew the lease, and read the next rows, in one transaction.

        The lease is renewed before the rows are read, so that this shipper sees every row that
        was committed before another shipper skipped the table.
        """
        with self.store.begin() as conn:
            if done:
                sent = outbox.c.id.in_(done) & outbox.c.rejection.is_(None)
                conn.execute(delete(outbox).where(sent))
            if not self._hold(conn):
                return []
            query = select(outbox.c.id, outbox.c.row_id, outbox.c.row).where(
                outbox.c.table_name == self.table, outbox.c.rejection.is_(None)
            )
            rows = conn.execute(query.order_by(outbox.c.id).limit(self.limit)).all()
            if not rows:
                self._release(conn)
        return [(row.id, row.row_id, json.loads(row.row)) for row in rows]

    def _hold(self, conn: Connection) -> bool:
        now = datetime.now(UTC)
        values = {"owner": self._owner, "expires_at": now + self.lease}
        free = or_(
            outbox_leases.c.owner.is_(None),
            outbox_leases.c.owner == self._owner,
            outbox_leases.c.expires_at <= now,
        )
        if insert_if_absent(conn, outbox_leases, {"table_name": self.table, **values}):
            return True
        mine = (outbox_leases.c.table_name == self.table) & free
        return conn.execute(update(outbox_leases).where(mine).values(**values)).rowcount == 1

    def _release(self, conn: Connection) -> None:
        mine = outbox_leases.c.owner == self._owner
        conn.execute(update(outbox_leases).where(mine).values(owner=None))

    def _let_go(self) -> None:
        with self.store.begin() as conn:
            self._release(conn)

    def _set_aside(self, number: int, error: FatalError) -> None:
        with self.store.begin() as conn:
            row = outbox.c.id == number
            conn.execute(update(outbox).where(row).values(rejection=str(error)[:2000]))


def _tables_waiting(store: StateStore) -> list[str]:
    query = select(outbox.c.table_name).where(outbox.c.rejection.is_(None)).distinct()
    with store.read() as conn:
        return list(conn.execute(query.order_by(outbox.c.table_name)).scalars())
