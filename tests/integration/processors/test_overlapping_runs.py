"""Two runs or two tries of one run at the same days: one publication, and no false failure."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import SupersededError
from convergence.extract import pages
from convergence.processors.context import StepResult
from convergence.processors.lib.daily import overtaken
from convergence.processors.openai.config import GROUPABLE, UsageConfig
from convergence.processors.openai.extraction import extract_usage
from convergence.runs.heartbeat import hold_heartbeat
from convergence.runs.ledger import Action
from convergence.runs.slices import SliceKey
from convergence.state import attempts
from convergence.state.store import StateStore
from support.processor_env import USAGE_COST, OrgEnv

DAYS = [date(2026, 11, 17), date(2026, 11, 18)]
TABLE = "openai_usage_daily_raw"
CONFIG = UsageConfig.from_values(
    {"endpoints": [{"endpoint": "completions", "group_by": list(GROUPABLE["completions"])}]}
)
PATIENCE = 60.0


@dataclass
class Slow:
    """Holds a run at its first page until it may go on."""

    run_id: str
    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow("run_newer")
    save = pages.save_page

    def save_slowly(disk: Any, work: Path, **more: Any) -> Any:
        if made.run_id in work.parts:
            made.reached.set()
            assert made.go_on.wait(PATIENCE)
        return save(disk, work, **more)

    monkeypatch.setattr(pages, "save_page", save_slowly)
    monkeypatch.setattr(overtaken, "POLL_SECONDS", 0.05)
    return made


@pytest.fixture
def connected(org: OrgEnv) -> OrgEnv:
    org.env.keys[org.slug] = f"sk-admin-sandbox-{org.slug}"
    return org


def run_step(org: OrgEnv, run_id: str, **changes: Any) -> StepResult:
    return extract_usage(replace(org.context(DAYS, run_id=run_id), **changes), CONFIG)


def states(org: OrgEnv) -> dict[tuple[str, str], int]:
    """(run, state) → how many ledger rows."""
    rows = org.env.ask(
        f"SELECT run_id, action FROM `{org.env.warehouse.project}.organizations.org_meta_slices`"
        f" WHERE org_slug = '{org.slug}' AND checked_at >= '2026-01-01'"
    )
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        found[row["run_id"], row["action"]] = found.get((row["run_id"], row["action"]), 0) + 1
    return found


def test_an_older_run_that_is_tried_again_waits_for_a_slow_newer_one(
    connected: OrgEnv, slow: Slow
) -> None:
    older_began = connected.env.services.now()
    with ThreadPoolExecutor(2) as pool:
        newer = pool.submit(run_step, connected, "run_newer")
        assert slow.reached.wait(PATIENCE)
        older = pool.submit(
            run_step, connected, "run_older", attempt=2, resumes=True, began_at=older_began
        )
        # Long enough for a retry that does not wait to have published.
        assert not threading.Event().wait(3)
        assert not older.done()
        slow.go_on.set()
        results = newer.result(PATIENCE), older.result(PATIENCE)
    assert [one.status for one in results] == ["SUCCESS", "SUCCESS"]
    assert results[0].details["days_published"] == len(DAYS)
    assert (results[1].details["days_published"], results[1].details["days_superseded"]) == (0, 2)
    assert states(connected) == {
        ("run_newer", Action.PUBLISHED): len(DAYS),
        ("run_older", Action.SUPERSEDED): len(DAYS),
    }


def test_an_older_run_publishes_where_the_newer_one_was_killed(
    connected: OrgEnv, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_STALE", timedelta(seconds=1))
    keys = _take_and_die(connected)
    older = run_step(connected, "run_older", attempt=2, resumes=True)
    assert older.details["days_published"] == len(DAYS)
    assert states(connected) == {("run_older", Action.PUBLISHED): len(DAYS)}
    newest = connected.env.services.publisher.read_newest_attempts(keys)
    assert {one.run_id for one in newest.values()} == {"run_older"}
    assert not any(one.heartbeat_at for one in newest.values()), "released when the work ended"


def _take_and_die(org: OrgEnv) -> list[SliceKey]:
    """Take a number for each day as a process that is killed at once."""
    keys = [SliceKey(org.slug, USAGE_COST.pipeline_id, TABLE, day) for day in DAYS]
    holder = attempts.Holder("dead", "run_newer")
    org.env.services.publisher.begin_attempts(keys, holder=holder)
    threading.Event().wait(1.1)
    return keys


def test_an_older_try_of_one_run_stops_when_a_newer_one_works(
    connected: OrgEnv, slow: Slow
) -> None:
    with ThreadPoolExecutor(2) as pool:
        old_try = pool.submit(run_step, connected, "run_newer")
        assert slow.reached.wait(PATIENCE)
        slow.reached.clear()
        new_try = pool.submit(run_step, connected, "run_newer", attempt=2, resumes=True)
        assert slow.reached.wait(PATIENCE)
        slow.go_on.set()
        with pytest.raises(SupersededError):
            old_try.result(PATIENCE)
        assert new_try.result(PATIENCE).details["days_published"] == len(DAYS)
    assert states(connected) == {("run_newer", Action.PUBLISHED): len(DAYS)}


def test_a_heartbeat_is_renewed_while_the_work_lasts_and_ends_with_it(tmp_path: Path) -> None:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    try:
        with hold_heartbeat(store, "run_1", every=0.05) as holder:
            with store.begin() as conn:
                attempts.next_attempt(conn, "slice", holder=holder)
            first = _beat(store)
            until = threading.Event()
            for _ in range(200):
                if _beat(store) != first:
                    break
                until.wait(0.05)
            renewed = _beat(store)
            assert first is not None
            assert renewed is not None
            assert renewed > first
        assert _beat(store) is None
        assert "attempt-heartbeat" not in {thread.name for thread in threading.enumerate()}
    finally:
        store.close()


def _beat(store: StateStore) -> Any:
    with store.read() as conn:
        return attempts.newest_attempts(conn, ["slice"])["slice"].heartbeat_at
