"""`python -m convergence.tenants.restore_state`: after the state store was lost or set back.

Gives it what the warehouse keeps: where each org's audit chain ends, each org's own settings of
its pipelines, the runs that wait in the queue, and those of the last month, of which quotas are
counted. What the store knows itself stays. The rest needs no restoring: fences go on from the
ledger, idempotency keys expire.
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
from convergence.state import org_runs, pipeline_configs, queue
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queued_run import QueuedRun, parse_log_row
from convergence.state.store import StateStore
from convergence.tenants import key_digests
from convergence.tenants.audit_joining import JoinedChain, join_store
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file, stream_file

# The month's quota is counted from what is restored.
RESTORED = timedelta(days=32)
RUNS_AT_ONCE = 500


@dataclass(frozen=True)
class RestoredState:
    """What the store did not know; of runs, how many."""

    chains: tuple[JoinedChain, ...]
    configs: tuple[PipelineConfig, ...]
    queued: tuple[QueuedRun, ...]
    runs: int
    keys: int = 0


def restore_store(store: StateStore, warehouse: Warehouse, *, now: datetime) -> RestoredState:
    """Give the store what it lacks; doing it again changes nothing.

    A schedule that came due while the store was gone is made up for once, by the next tick. Runs
    and queue entries that changed last longer than a month ago are left out.

    Raises:
        NotBootstrappedError: there is nothing to restore from.
        WarehouseUnavailableError: no answer; ask again.
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
    """Restore and say what; 1 when it can't be done."""
    argparse.ArgumentParser(prog="restore-state", description=__doc__).parse_args(arguments)
    settings = get_settings()
    try:
        store, warehouse = StateStore.connect(settings.state_url), Warehouse.connect(settings)
        done = restore_store(store, warehouse, now=datetime.now(UTC))
    except ConvergenceError as error:
        sys.stderr.write(f"nothing was restored: {redact(str(error))}\n")
        return 1
    for chain in done.chains:
        anew = f", {chain.rechained} entries chained anew" if chain.rechained else ""
        sys.stdout.write(f"{chain.org_slug}: audit after entry {chain.after.sequence}{anew}\n")
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
    while batch := list(islice(rows, RUNS_AT_ONCE)):
        with store.begin() as conn:
            known += sum(org_runs.insert_run(conn, _build_run(row)) for row in batch)
    return known


def _build_run(row: Row) -> OrgRun:
    code, message = row.pop("error_code"), row.pop("error_message")
    told = {
        "params": _parse_params(row),
        "days": tuple(row["days"]),
        "status": RunStatus(row["status"]),
    }
    return OrgRun(**{**row, **told, "error": RunError(code, message or "") if code else None})


def _build_config(row: Row) -> PipelineConfig:
    by = row["updated_by"] or "admin"
    return PipelineConfig(**{**row, "params": _parse_params(row), "updated_by": by})


def _parse_params(row: Row) -> dict[str, Any]:
    params = row["params"] or {}
    return json.loads(params) if isinstance(params, str) else dict(params)


if __name__ == "__main__":
    sys.exit(main())
