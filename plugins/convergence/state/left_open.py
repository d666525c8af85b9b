"""Airflow runs whose last task never ended them: somebody else did, and nobody was told yet."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from convergence.state.tables import added, left_open


class DagRunKey(NamedTuple):
    """An Airflow run."""

    dag_id: str
    dag_run_id: str


def note(conn: Connection, key: DagRunKey, *, now: datetime) -> bool:
    """Note, in the transaction that ends what was left open, that it has yet to be told of."""
    return added(conn, left_open, {**key._asdict(), "noted_at": now})


def untold(conn: Connection, *, limit: int) -> list[DagRunKey]:
    """The runs that nobody was told of, the longest waiting first."""
    query = select(left_open.c.dag_id, left_open.c.dag_run_id).order_by(left_open.c.noted_at)
    return [DagRunKey._make(row) for row in conn.execute(query.limit(limit))]


def told(conn: Connection, key: DagRunKey) -> None:
    """Forget a run, now that whoever is to hear of it has."""
    mine = (left_open.c.dag_id == key.dag_id) & (left_open.c.dag_run_id == key.dag_run_id)
    conn.execute(delete(left_open).where(mine))
