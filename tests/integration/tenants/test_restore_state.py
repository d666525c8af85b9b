"""The state store is lost: audit chains go on where the log ends, and settings come back."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.runs.records import RunRecords
from convergence.settings import Settings
from convergence.state import audit_heads, org_runs, outbox, pipeline_configs, slots
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.queueing import queue
from convergence.state.queueing.queued_run import QueuedRun, QueueStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from convergence.tenants import audit_joining, quotas, removal, restore_state
from convergence.tenants.audit import AUDIT_LOG
from convergence.tenants.audit_joining import join_new_store, join_store
from convergence.tenants.audit_verify import verify_chains
from convergence.tenants.restore_state import restore_store
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.client import Warehouse
from support.run_records import admit_run
from support.tenant_owner import BY, NOW, NewOrg

NewStore = Callable[[], StateStore]


@pytest.fixture
def new_store(tmp_path: Path) -> Iterator[NewStore]:
    """Opens a store that knows nothing, as after the old one's loss."""
    opened: list[StateStore] = []

    def new() -> StateStore:
        opened.append(StateStore.connect(f"sqlite:///{tmp_path / f'state-{len(opened)}.db'}"))
        return opened[-1]

    yield new
    for store in opened:
        store.close()


@pytest.fixture
def org(new_org: NewOrg, store: StateStore, warehouse: Warehouse) -> str:
    """An org whose log is in the warehouse."""
    slug = new_org()
    ship_outbox(store, warehouse)
    return slug


def change(store: StateStore, warehouse: Warehouse, org: str, *, times: int = 1) -> None:
    for _ in range(times):
        quotas.apply_plan(store, warehouse, org_slug=org, plan_name="SCALE", by=BY, now=NOW)


def sound(store: StateStore, warehouse: Warehouse, org: str) -> bool:
    return verify_chains(store, warehouse, orgs=[org]) == {org: None}


def config(org: str, pipeline: str = "openai-usage-cost", **changes: object) -> PipelineConfig:
    told: dict[str, object] = {
        "org_slug": org,
        "pipeline_id": pipeline,
        "dag_id": "openai.cost.usage_cost",
        "provider": "OPENAI",
        "schedule": "30 4 * * *",
        "timezone": "Europe/Berlin",
        "params": {"granularity": "day"},
        "next_due_at": NOW + timedelta(hours=9),
        "updated_at": NOW,
        "updated_by": "key_1",
    }
    return PipelineConfig(**{**told, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, 2, 9])
def test_a_new_store_goes_on_where_the_log_ends_however_much_it_did_before_it_knew(
    warehouse: Warehouse, *, org: str, new_store: NewStore, times: int
) -> None:
    store = new_store()
    change(store, warehouse, org, times=times)  # two entries each; the log has six
    ship_outbox(store, warehouse)
    assert sound(store, warehouse, org)
    change(store, warehouse, org)
    ship_outbox(store, warehouse)
    assert sound(store, warehouse, org)
    with store.read() as conn:
        assert audit_heads.read_heads(conn)[org][0] == 6 + 2 * (times + 1)


def test_an_org_that_did_nothing_since_goes_on_too(
    warehouse: Warehouse, *, org: str, new_org: NewOrg, store: StateStore, new_store: NewStore
) -> None:
    idle = new_org()
    ship_outbox(store, warehouse)
    fresh = new_store()
    change(fresh, warehouse, org)
    ship_outbox(fresh, warehouse)
    assert sound(fresh, warehouse, idle)
    change(fresh, warehouse, idle)
    ship_outbox(fresh, warehouse)
    assert sound(fresh, warehouse, idle)


def test_an_entry_made_while_the_log_is_asked_is_not_overlooked(
    warehouse: Warehouse,
    *,
    store: StateStore,
    new_org: NewOrg,
    new_store: NewStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = new_org(), new_org()
    ship_outbox(store, warehouse)
    fresh, asked, late = new_store(), audit_joining._find_taken_places, [second]

    def slowly(*given: Any) -> Any:
        found = asked(*given)
        while late:
            change(fresh, warehouse, late.pop())
        return found

    change(fresh, warehouse, first)
    monkeypatch.setattr(audit_joining, "_find_taken_places", slowly)
    ship_outbox(fresh, warehouse)
    assert sound(fresh, warehouse, first)
    assert sound(fresh, warehouse, second)


def test_until_then_a_log_without_a_head_is_told_with_what_to_do(
    warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    fresh = new_store()
    assert "make restore-state" in str(verify_chains(fresh, warehouse, orgs=[org])[org])
    restore_store(fresh, warehouse, now=NOW)
    assert sound(fresh, warehouse, org)


def test_joining_asks_once_and_only_when_there_is_something_to_ship(
    warehouse: Warehouse, *, org: str, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store()
    asked: list[object] = []
    monkeypatch.setattr(warehouse.client, "query", _counting(warehouse.client.query, asked.append))
    assert join_new_store(store, warehouse) == []
    assert asked == []
    with store.begin() as conn:
        audit_heads.lock_head(conn, org, genesis="0" * 64)
    change(store, warehouse, org)
    before = len(asked)
    assert [one.org_slug for one in join_new_store(store, warehouse) if one.rechained] == [org]
    assert len(asked) == before + 2
    ship_outbox(store, warehouse)
    assert len(asked) == before + 2


def _counting(query: Callable[..., object], tell: Callable[[object], None]) -> object:
    def counted(sql: str, **named: object) -> object:
        tell(sql)
        return query(sql, **named)

    return counted


def test_the_log_is_joined_once_when_two_processes_ship_at_the_same_time(
    warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    store = new_store()
    change(store, warehouse, org, times=3)
    both = [threading.Thread(target=ship_outbox, args=(store, warehouse)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(30)
    ship_outbox(store, warehouse)
    assert sound(store, warehouse, org)


def test_a_store_that_was_not_lost_is_left_as_it_is(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    change(store, warehouse, org)
    with store.read() as conn:
        heads, waiting = audit_heads.read_heads(conn), outbox.list_waiting_rows(conn, AUDIT_LOG)
    assert [one for one in join_store(store, warehouse) if one.org_slug == org] == []
    with store.read() as conn:
        assert outbox.list_waiting_rows(conn, AUDIT_LOG) == waiting
        assert audit_heads.read_heads(conn)[org] == heads[org]


def test_an_entry_that_was_delivered_and_is_still_waiting_is_no_second_chain(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    change(store, warehouse, org)
    with store.read() as conn:
        waiting = outbox.list_waiting_rows(conn, AUDIT_LOG)
    ship_outbox(store, warehouse)
    with store.begin() as conn:
        for row in waiting:  # as if the shipper had died before it forgot them
            outbox.enqueue_row(conn, AUDIT_LOG, row)
    assert [one for one in join_store(store, warehouse) if one.org_slug == org] == []
    assert sound(store, warehouse, org)


def test_a_store_set_back_to_a_backup_is_brought_forward_by_the_tool(
    store: StateStore, warehouse: Warehouse, org: str
) -> None:
    with store.read() as conn:
        place, entry_hash = audit_heads.read_heads(conn)[org]
    change(store, warehouse, org)
    ship_outbox(store, warehouse)
    with store.begin() as conn:
        audit_heads.move_head(conn, org, sequence=place, entry_hash=entry_hash)
    change(store, warehouse, org)
    restore_store(store, warehouse, now=NOW)
    ship_outbox(store, warehouse)
    assert sound(store, warehouse, org)


def test_settings_come_back_as_they_were_last(
    store: StateStore, warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    with store.begin() as conn:
        pipeline_configs.put_config(conn, config(org))
        last = pipeline_configs.put_config(conn, config(org, schedule="0 5 * * *", params={}))
        off = pipeline_configs.put_config(
            conn, config(org, "openai-seed", enabled=False, schedule=None)
        )
    ship_outbox(store, warehouse)
    fresh = new_store()
    done = restore_store(fresh, warehouse, now=NOW)
    assert [one for one in done.configs if one.org_slug == org] == [off, last]
    with fresh.read() as conn:
        assert pipeline_configs.get_config(conn, org, last.pipeline_id) == last
        due = pipeline_configs.list_due_configs(conn, now=NOW + timedelta(days=1))
    assert [one.pipeline_id for one in due if one.org_slug == org] == [last.pipeline_id]
    with fresh.begin() as conn:
        newer = pipeline_configs.put_config(conn, config(org, updated_at=NOW + timedelta(hours=1)))
    assert restore_store(fresh, warehouse, now=NOW).configs == ()
    with fresh.read() as conn:
        assert pipeline_configs.get_config(conn, org, last.pipeline_id) == newer


def test_a_removed_orgs_settings_end_with_it_and_do_not_come_back(
    store: StateStore, warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    with store.begin() as conn:
        pipeline_configs.put_config(conn, config(org))
    removal.remove_org(store, warehouse, org_slug=org, delete_data=False, by=BY, now=NOW)
    with store.read() as conn:
        left = pipeline_configs.get_config(conn, org, "openai-usage-cost")
        assert left is not None
        assert (left.enabled, left.next_due_at) == (False, None)
    ship_outbox(store, warehouse)
    assert [
        one for one in restore_store(new_store(), warehouse, now=NOW).configs if one.org_slug == org
    ] == []


def test_of_two_changes_at_once_the_later_is_the_newer_in_the_log(
    store: StateStore, warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    with store.begin() as conn:
        pipeline_configs.put_config(conn, config(org, schedule="@daily"))
    with store.begin() as conn:
        kept = pipeline_configs.put_config(
            conn, config(org, schedule="@weekly", updated_at=NOW - timedelta(seconds=1))
        )
    assert kept.updated_at > NOW
    ship_outbox(store, warehouse)
    (found,) = [
        one for one in restore_store(new_store(), warehouse, now=NOW).configs if one.org_slug == org
    ]
    assert found.schedule == "@weekly"


def test_what_waits_in_the_queue_comes_back_whole_and_nothing_else(
    store: StateStore, warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    def entry(**changes: object) -> QueuedRun:
        first = QueuedRun(
            org, "openai-usage-cost", "openai.cost.usage_cost", "OPENAI", "key_1", NOW
        )
        return replace(first, queue_id=f"que_{uuid.uuid4().hex}", **changes)  # type: ignore[arg-type]

    full = entry(
        days=(date(2026, 11, 20), date(2026, 11, 19)),
        params={"x": 1},
        priority=3,
        request_id="req_9",
        debited=False,
        trigger="schedule",
        schedule="@daily",
        due_at=NOW,
    )
    after = entry(follows=full.queue_id)
    started, failed = entry(), entry()
    with store.begin() as conn:
        for one in (full, after, started, failed):
            queue.add_entry(conn, one)
        # At the instant at which it was queued, as where a slot is free.
        queue.settle_entry(conn, started.queue_id, QueueStatus.STARTED, now=NOW, run_id="run_1")
        queue.settle_entry(conn, failed.queue_id, QueueStatus.FAILED, now=NOW, reason="suspended")
    ship_outbox(store, warehouse)
    fresh = new_store()
    done = restore_store(fresh, warehouse, now=NOW)
    mine = {one.queue_id: one for one in done.queued if one.org_slug == org}
    assert mine == {one.queue_id: one for one in (full, after)}
    with fresh.read() as conn:
        assert queue.get_entry(conn, full.queue_id) == full
    assert restore_store(fresh, warehouse, now=NOW).queued == ()
    old = restore_store(new_store(), warehouse, now=NOW + timedelta(days=33))
    assert [one for one in old.queued if one.org_slug == org] == []


def test_runs_come_back_as_they_stood_and_are_counted_as_before(
    store: StateStore, warehouse: Warehouse, *, org: str, new_store: NewStore
) -> None:
    book, limits = RunRecords(store), RunLimits(9, 9, 9)
    first = OrgRun(
        run_id="run_live",
        org_slug=org,
        pipeline_id="openai-usage-cost",
        dag_id="openai.cost.usage_cost",
        dag_run_id="api__1",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
        status=RunStatus.PENDING,
        days=(date(2026, 11, 20),),
        params={"x": [1]},
        request_id="req_1",
    )
    runs = [replace(first, run_id=f"run_{name}") for name in ("live", "done", "refused", "new")]
    for run in runs:
        admit_run(store, run, limits=limits, now=NOW)
    book.begin_run("run_live", now=NOW)
    book.begin_run("run_done", now=NOW)
    limit = RunError("limit_reached", "reached")
    book.finish_run("run_done", RunStatus.FAILED, now=NOW, error=limit)
    book.reject_run("run_refused", now=NOW, error=RunError("stale", "not loaded"))
    ship_outbox(store, warehouse)
    fresh = new_store()
    assert restore_store(fresh, warehouse, now=NOW).runs == 4
    with store.read() as old, fresh.read() as new:
        for run in runs:
            assert org_runs.get_run(new, run.run_id) == org_runs.get_run(old, run.run_id)
        assert slots.count_usage(new, org, now=NOW) == slots.count_usage(old, org, now=NOW)
        assert slots.count_usage(new, org, now=NOW).this_month == 3
    assert restore_store(fresh, warehouse, now=NOW).runs == 0


def test_the_tool_says_what_it_restored(
    warehouse: Warehouse,
    *,
    settings: Settings,
    org: str,
    new_store: NewStore,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh = new_store()
    change(fresh, warehouse, org)
    monkeypatch.setattr(restore_state, "get_settings", lambda: settings)
    monkeypatch.setattr(StateStore, "connect", lambda _url: fresh)
    assert restore_state.main([]) == 0
    out = capsys.readouterr().out
    assert f"{org}: audit after entry 6, 2 entries chained again" in out
    assert restore_state.main([]) == 0
    assert (
        "0 chains, 0 settings, 0 queued runs and 0 others were restored" in capsys.readouterr().out
    )
