"""Airflow runs that another task closed, and whose end has not been announced yet.

A run's own last task announces how the run ended. Where that task never ran, the platform closes
the run and records it here; a later pass sends the announcement and removes the record.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from convergence.state.schema.tables import insert_if_absent, unannounced_runs


class DagRunKey(NamedTuple):
    """An Airflow run."""

    dag_id: str
    dag_run_id: str


def add_unannounced(conn: Connection, key: DagRunKey, *, now: datetime) -> bool:
    """Record a run whose end is not announced, in the transaction that closes its org runs.

    Returns:
        Whether it was recorded now; False where it was recorded before.
    """
    return insert_if_absent(conn, unannounced_runs, {**key._asdict(), "noted_at": now})


def list_unannounced(conn: Connection, *, limit: int) -> list[DagRunKey]:
    """Return the recorded runs, oldest record first."""
    columns = (unannounced_runs.c.dag_id, unannounced_runs.c.dag_run_id)
    query = select(*columns).order_by(unannounced_runs.c.noted_at)
    return [DagRunKey._make(row) for row in conn.execute(query.limit(limit))]


def remove_unannounced(conn: Connection, key: DagRunKey) -> None:
    """Remove the record of a run, once its end has been announced."""
    this_run = (unannounced_runs.c.dag_id == key.dag_id) & (
        unannounced_runs.c.dag_run_id == key.dag_run_id
    )
    conn.execute(delete(unannounced_runs).where(this_run))
