"""`python -m convergence.tenants.restore_state`: after the state store was lost or set back.

Gives it what the warehouse keeps: where each org's audit chain ends, and each org's own settings
of its pipelines. What the store knows itself stays. The rest needs no restoring: slots, fences
and live runs are counted anew, idempotency keys expire.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from convergence.errors import ConvergenceError
from convergence.security.redaction import redact
from convergence.settings import get_settings
from convergence.state import pipeline_configs
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.store import StateStore
from convergence.tenants.audit_joining import Joined, join
from convergence.warehouse.client import Warehouse
from convergence.warehouse.query import Row, run_file


@dataclass(frozen=True)
class Restored:
    """What the store did not know: ends of chains, and configurations."""

    chains: tuple[Joined, ...]
    configs: tuple[PipelineConfig, ...]


def restore(store: StateStore, warehouse: Warehouse) -> Restored:
    """Give the store what it lacks; doing it again changes nothing.

    A schedule that came due while the store was gone is made up for once, by the next tick.

    Raises:
        NotBootstrappedError: there is nothing to restore from.
        WarehouseUnavailableError: no answer; ask again.
    """
    joined = join(store, warehouse)
    rows = run_file(warehouse, warehouse.sql("tenants/pipeline_configs.sql"))
    configs = [_config(row) for row in rows]
    with store.begin() as conn:
        added = [config for config in configs if pipeline_configs.restore(conn, config)]
    return Restored(tuple(joined), tuple(added))


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore and say what; 1 when it can't be done."""
    argparse.ArgumentParser(prog="restore-state", description=__doc__).parse_args(arguments)
    settings = get_settings()
    try:
        done = restore(StateStore.connect(settings.state_url), Warehouse.connect(settings))
    except ConvergenceError as error:
        sys.stderr.write(f"nothing was restored: {redact(str(error))}\n")
        return 1
    for chain in done.chains:
        anew = f", {chain.chained_anew} entries chained anew" if chain.chained_anew else ""
        sys.stdout.write(f"{chain.org_slug}: audit after entry {chain.after.sequence}{anew}\n")
    for config in done.configs:
        sys.stdout.write(f"{config.org_slug}: settings of {config.pipeline_id}\n")
    sys.stdout.write(f"{len(done.chains)} chains and {len(done.configs)} settings were restored\n")
    return 0


def _config(row: Row) -> PipelineConfig:
    params = row["params"] or {}
    told = json.loads(params) if isinstance(params, str) else params
    by = row["updated_by"] or "admin"
    return PipelineConfig(**{**row, "params": told, "updated_by": by})


if __name__ == "__main__":
    sys.exit(main())
