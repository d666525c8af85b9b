"""What the processes of the tests run: importable by name, since they do not share memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from convergence.state import attempts, idempotency, org_runs, outbox, slots
from convergence.state.migrations import upgrade
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.schema import preparation as schema
from convergence.state.store import StateStore
from stack.guarded import die_with_parent

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMITS = slots.RunLimits(runs_per_day=6, runs_per_month=100, concurrent_runs=100)


def build_run(number: int, *, org: str = "acme_corp") -> OrgRun:
    return OrgRun(
        run_id=f"run_{org}_{number}",
        org_slug=org,
        pipeline_id="openai-usage-cost",
        dag_id="openai.cost.usage_cost",
        dag_run_id=f"manual__{number}",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
    )


def run_beside_parent(target: Callable[..., None], *args: str | int) -> None:
    """Run `target` in this process, which ends when its parent does."""
    die_with_parent()
    target(*args)


def admit_one(url: str, number: int) -> str:
    store = StateStore.connect(url)
    with store.begin() as conn:
        outcome = slots.take_slot(conn, build_run(number), limits=LIMITS, now=NOW)
    store.close()
    return type(outcome).__name__


def take_attempts(url: str, _number: int) -> list[int]:
    store = StateStore.connect(url)
    taken = []
    for _ in range(10):
        with store.begin() as conn:
            taken.append(attempts.next_attempt(conn, "acme|usage|2026-11-20"))
    store.close()
    return taken


def claim_one(url: str, _number: int) -> str:
    store = StateStore.connect(url)
    with store.begin() as conn:
        outcome = idempotency.claim_key(conn, "acme_corp", "key", request_hash="same", now=NOW)
    store.close()
    return type(outcome).__name__


def end_one(url: str, number: int) -> bool:
    status = (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED)[number % 3]
    store = StateStore.connect(url)
    with store.begin() as conn:
        ended = org_runs.transition_run(conn, build_run(0).run_id, status, now=NOW)
    store.close()
    return ended is not None


def produce(url: str, journal: str, producer: int) -> None:
    del journal
    store = StateStore.connect(url)
    for number in range(40):
        with store.begin() as conn:
            outbox.enqueue_row(
                conn, f"table_{number % 2}", {"producer": producer, "number": number}
            )
        time.sleep(0.04)
    store.close()


def ship_for_ever(url: str, journal: str, shipper: int) -> None:
    store = StateStore.connect(url)
    sink = partial(append_to_journal, journal, shipper)
    while True:
        outbox.ship_rows(store, sink, limit=7, lease=timedelta(milliseconds=400))
        time.sleep(0.005)


def append_to_journal(journal: str, shipper: int, table: str, rows: outbox.RowBatch) -> None:
    lines = [f"{table} {row_id} {row['producer']} {row['number']}\n" for row_id, row in rows]
    with Path(journal).open("a", encoding="utf-8") as file:
        file.write("".join(lines))
    time.sleep(0.05 + 0.02 * shipper)  # between sink and delete: where most kills fall


def open_with_revisions(url: str, versions: str, head: str, _number: int) -> str | None:
    upgrade.VERSIONS, schema.HEAD_REVISION = Path(versions), head
    store = StateStore.connect(url)
    with store.read() as conn:
        revision = schema.recorded_revision(conn)
    store.close()
    return revision
