"""A run of an org in the state store, as the product admits it."""

from __future__ import annotations

from datetime import datetime

from convergence.runs.admission import record_run
from convergence.state.org_runs import OrgRun
from convergence.state.slots import LimitReached, RunLimits, SlotTaken
from convergence.state.store import StateStore


def admit_run(
    store: StateStore, run: OrgRun, *, limits: RunLimits, now: datetime
) -> SlotTaken | LimitReached:
    """Record a run within these limits, in a transaction of its own."""
    with store.begin() as conn:
        return record_run(conn, run, limits=limits, now=now)
