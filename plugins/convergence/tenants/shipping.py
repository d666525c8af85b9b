"""The outbox's way to the central tables."""

from __future__ import annotations

from convergence.state import outbox
from convergence.state.store import StateStore
from convergence.tenants.audit_joining import join_new_store
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import central_table
from convergence.warehouse.stream import append_rows


def ship_outbox(store: StateStore, warehouse: Warehouse) -> int:
    """Send every waiting row of the outbox to its central table; how many went.

    Raises:
        NotBootstrappedError: a central table is missing.
        WarehouseUnavailableError: no answer; what waits goes with a later call.
    """

    def sink(table: str, rows: outbox.RowBatch) -> None:
        append_rows(warehouse, central_table(table), rows)

    # A store that was lost must know where the audit log ends before it adds to it.
    join_new_store(store, warehouse)
    return outbox.ship_rows(store, sink)
