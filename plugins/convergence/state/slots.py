"""Quota slots: count an org's runs and admit one more, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

from convergence.state import org_runs
from convergence.state.org_runs import CountPeriods, OrgRun, RunUsage

# A run that was never ended must not keep its slot; no run lasts a day.
SLOT_LIFETIME = timedelta(hours=24)

LimitName = Literal["runs_per_month", "runs_per_day", "concurrent_runs"]


@dataclass(frozen=True)
class RunLimits:
    """The number of runs that an org's plan allows per UTC day, per UTC month, and at once."""

    runs_per_day: int
    runs_per_month: int
    concurrent_runs: int


@dataclass(frozen=True)
class SlotTaken:
    """The run is recorded and has a slot; `taken_before` when it already had one."""

    run_id: str
    taken_before: bool = False


@dataclass(frozen=True)
class LimitReached:
    """The limit that is reached; `resets_at` is None for runs at once."""

    limit: LimitName
    maximum: int
    use: int
    resets_at: datetime | None


def take_slot(
    conn: Connection, run: OrgRun, *, limits: RunLimits, now: datetime
) -> SlotTaken | LimitReached:
    """Record the run if its org's limits allow one more; concurrent calls for the org wait.

    A run that exists keeps its slot and is not counted twice. A run that is not debited needs no
    slot and is not counted.
    """
    _lock_org(conn, run.org_slug)
    if run.debited:
        reached = _find_reached_limit(count_usage(conn, run.org_slug, now=now), limits, now)
        if reached:
            known = org_runs.get_run(conn, run.run_id) is not None
            return SlotTaken(run.run_id, taken_before=True) if known else reached
    return SlotTaken(run.run_id, taken_before=not org_runs.insert_run(conn, run))


def count_usage(conn: Connection, org_slug: str, *, now: datetime) -> RunUsage:
    """Count what the org has used of its limits at this instant."""
    midnight = _find_midnight(now)
    since = CountPeriods(midnight, midnight.replace(day=1), now - SLOT_LIFETIME)
    return org_runs.count_runs(conn, org_slug, since=since)


def compute_resets(now: datetime) -> tuple[datetime, datetime]:
    """Return when the counts of the day and of the month begin again, both UTC."""
    midnight = _find_midnight(now)
    next_month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
    return midnight + timedelta(days=1), next_month


def _find_reached_limit(use: RunUsage, limits: RunLimits, now: datetime) -> LimitReached | None:
    """Return the reached limit that lasts longest: waiting for a shorter one would not help."""
    tomorrow, next_month = compute_resets(now)
    if use.this_month >= limits.runs_per_month:
        return LimitReached("runs_per_month", limits.runs_per_month, use.this_month, next_month)
    if use.today >= limits.runs_per_day:
        return LimitReached("runs_per_day", limits.runs_per_day, use.today, tomorrow)
    if use.active >= limits.concurrent_runs:
        return LimitReached("concurrent_runs", limits.concurrent_runs, use.active, None)
    return None


def _find_midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _lock_org(conn: Connection, org_slug: str) -> None:
    """Allow one admission per org at a time; SQLite has only one write transaction anyway."""
    if conn.dialect.name == "postgresql":
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:org, 0))")
        conn.execute(lock, {"org": f"slots|{org_slug}"})
