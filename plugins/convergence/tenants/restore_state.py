"""`python -m convergence.tenants.restore_state`: restore a state store that was lost or set back.

Restores from the warehouse: the end of each org's audit chain, each org's own settings of its
pipelines, the runs that wait in the queue, and the runs of the last month, from which quotas are
counted. Rows that the store has are kept. The rest needs no restoring: attempt numbers continue
from the ledger, and idempotency keys expire.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from convergence.errors import ConvergenceError
from convergence.security.redaction import redact
from convergence.settings import get_settings
from convergence.state import org_runs, pipeline_configs
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import QueuedRun, parse_log_row
from convergence.state.store import StateStore
from convergence.tenants.api_keys import key_digests
from convergence.tenants.audit_joining import JoinedChain, join_store
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file, stream_file

# The month's quota is counted from what is restored.
RESTORED = timedelta(days=32)
RUNS_PER_TRANSACTION = 500


@dataclass(frozen=True)
class RestoredState:
    """The restored objects; for runs and keys, their number."""

    chains: tuple[JoinedChain, ...]
    configs: tuple[PipelineConfig, ...]
    queued: tuple[QueuedRun, ...]
    runs: int
    keys: int = 0


def restore_store(store: StateStore, warehouse: Warehouse, *, now: datetime) -> RestoredState:
    """Add the missing rows to the store; a second call changes nothing.

    A schedule that was due while the store was gone runs once, at the next tick. Runs and queue
    entries whose last change is older than a month are not restored.

    Raises:
        NotBootstrappedError: the warehouse has nothing to restore from.
        WarehouseUnavailableError: BigQuery does not respond; try again.
    """
    joined = join_store(store, warehouse)
    configs = map(_build_config, run_file(warehouse, warehouse.sql("tenants/pipeline_configs.sql")))
    path, since = warehouse.sql("tenants/queue_waiting.sql"), now - RESTORED
    entries = map(parse_log_row, run_file(warehouse, path, params={"since": since}))
    runs = _restore_runs(store, warehouse, since=since)
    keys = key_digests.refresh_digests(store, warehouse)
    with store.begin() as conn:
        return RestoredState(
            tuple(joined),
            tuple(config for config in configs if pipeline_configs.restore_config(conn, config)),
            tuple(entry for entry in entries if queue.restore_entry(conn, entry)),
            runs,
            keys,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore, print what was restored, and return 1 on an error."""
    argparse.ArgumentParser(prog="restore-state", description=__doc__).parse_args(arguments)
    settings = get_settings()
    try:
        store, warehouse = StateStore.connect(settings.state_url), Warehouse.connect(settings)
        done = restore_store(store, warehouse, now=datetime.now(UTC))
    except ConvergenceError as error:
        sys.stderr.write(f"nothing was restored: {redact(str(error))}\n")
        return 1
    for chain in done.chains:
        rechained = f", {chain.rechained} entries chained again" if chain.rechained else ""
        sys.stdout.write(f"{chain.org_slug}: audit after entry {chain.after.sequence}{rechained}\n")
    for config in done.configs:
        sys.stdout.write(f"{config.org_slug}: settings of {config.pipeline_id}\n")
    for entry in done.queued:
        sys.stdout.write(f"{entry.org_slug}: {entry.queue_id} waits for {entry.pipeline_id}\n")
    sys.stdout.write(
        f"{done.keys} API keys, {len(done.chains)} chains, {len(done.configs)} settings, "
        f"{len(done.queued)} queued runs and {done.runs} others were restored\n"
    )
    return 0


def _restore_runs(store: StateStore, warehouse: Warehouse, *, since: datetime) -> int:
    path = warehouse.sql("tenants/runs_newest.sql")
    rows = stream_file(warehouse, path, params={"since": since})
    known = 0
    while batch := list(islice(rows, RUNS_PER_TRANSACTION)):
        with store.begin() as conn:
            known += sum(org_runs.insert_run(conn, _restore_run(row)) for row in batch)
    return known


def _restore_run(row: Row) -> OrgRun:
    code, message = row.pop("error_code"), row.pop("error_message")
    parsed = {
        "params": _parse_params(row),
        "days": tuple(row["days"]),
        "status": RunStatus(row["status"]),
    }
    return OrgRun(**{**row, **parsed, "error": RunError(code, message or "") if code else None})


def _build_config(row: Row) -> PipelineConfig:
    by = row["updated_by"] or "admin"
    return PipelineConfig(**{**row, "params": _parse_params(row), "updated_by": by})


def _parse_params(row: Row) -> dict[str, Any]:
    params = row["params"] or {}
    return json.loads(params) if isinstance(params, str) else dict(params)


if __name__ == "__main__":
    sys.exit(main())
