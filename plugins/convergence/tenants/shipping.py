"""Ship the outbox's rows to the central tables."""

from __future__ import annotations

from convergence.state import outbox
from convergence.state.store import StateStore
from convergence.tenants.audit_joining import join_new_store
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import central_table
from convergence.warehouse.stream import append_rows


def ship_outbox(store: StateStore, warehouse: Warehouse) -> int:
    """Send all waiting rows of the outbox to their central tables; return their number.

    Raises:
        NotBootstrappedError: a central table is missing.
        WarehouseUnavailableError: BigQuery does not respond; a later call sends the rows.
    """

    def sink(table: str, rows: outbox.RowBatch) -> None:
        append_rows(warehouse, central_table(table), rows)

    # A store that was lost must be joined to the audit log before it adds entries to it.
    join_new_store(store, warehouse)
    return outbox.ship_rows(store, sink)
