"""What must hold when many processes use the store at once: real processes, both databases."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from convergence.errors import StateUnavailableError
from convergence.state import attempts, org_runs, outbox, slots
from convergence.state import store as store_module
from convergence.state.org_runs import RunStatus
from convergence.state.store import StateStore
from integration.state.state_workers import (
    LIMITS,
    NOW,
    admit_one,
    build_run,
    claim_one,
    end_one,
    produce,
    run_beside_parent,
    ship_for_ever,
    take_attempts,
)
from stack.guarded import die_with_parent

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["sqlalchemy.dialects.sqlite", "psycopg"])


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(
        workers, mp_context=PROCESSES, initializer=die_with_parent
    ) as executor:
        yield executor


def test_ten_processes_create_the_store_at_once(state_url: str) -> None:
    with pool(10) as executor:
        list(executor.map(partial(take_attempts, state_url), range(10)))
    store = StateStore.connect(state_url)
    with store.read() as conn:
        assert attempts.newest_attempt(conn, "acme|usage|2026-11-20") == 100
    store.close()


def test_of_a_hundred_triggers_at_one_below_the_limit_one_is_accepted(
    store: StateStore, state_url: str
) -> None:
    for number in range(LIMITS.runs_per_day - 1):
        admit_one(state_url, 1000 + number)
    with pool(8) as executor:
        outcomes = Counter(executor.map(partial(admit_one, state_url), range(100)))
    assert outcomes == {"SlotTaken": 1, "LimitReached": 99}
    with store.read() as conn:
        assert slots.count_usage(conn, "acme_corp", now=NOW).today == LIMITS.runs_per_day


def test_an_admission_waits_for_the_one_before_it(store: StateStore, state_url: str) -> None:
    for number in range(LIMITS.runs_per_day - 1):
        admit_one(state_url, 1000 + number)
    with ThreadPoolExecutor(1) as executor:
        with store.begin() as conn:
            first = slots.take_slot(conn, build_run(1), limits=LIMITS, now=NOW)
            second = executor.submit(admit_one, state_url, 2)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
        assert isinstance(first, slots.SlotTaken)
        assert second.result(timeout=10) == "LimitReached"


def test_who_waits_too_long_for_a_frozen_writer_is_told_so(
    store: StateStore, state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "BUSY_TIMEOUT_SECONDS", 1)
    patient = StateStore.connect(state_url)

    def second_admission() -> None:
        with patient.begin() as conn:
            slots.take_slot(conn, build_run(2), limits=LIMITS, now=NOW)

    with store.begin() as conn:
        slots.take_slot(conn, build_run(1), limits=LIMITS, now=NOW)
        with pytest.raises(StateUnavailableError):
            second_admission()
    second_admission()
    patient.close()


def test_attempts_rise_strictly_for_every_process(store: StateStore, state_url: str) -> None:
    assert store is not None
    with pool(6) as executor:
        taken = list(executor.map(partial(take_attempts, state_url), range(6)))
    assert all(own == sorted(own) for own in taken)
    assert sorted(number for own in taken for number in own) == list(range(1, 61))


def test_one_of_many_equal_requests_claims_the_key(store: StateStore, state_url: str) -> None:
    assert store is not None
    with pool(6) as executor:
        outcomes = Counter(executor.map(partial(claim_one, state_url), range(30)))
    assert outcomes == {"KeyClaim": 1, "ClaimInFlight": 29}


def test_one_of_many_enders_ends_the_run(store: StateStore, state_url: str) -> None:
    with store.begin() as conn:
        org_runs.insert_run(conn, build_run(0))
        org_runs.transition_run(conn, build_run(0).run_id, RunStatus.RUNNING, now=NOW)
    with pool(6) as executor:
        ended = list(executor.map(partial(end_one, state_url), range(24)))
    assert sum(ended) == 1


# --- the outbox, with shippers that die ---------------------------------------------------------


def start_worker(target: Callable[[str, str, int], None], *args: str | int) -> BaseProcess:
    process = PROCESSES.Process(target=run_beside_parent, args=(target, *args), daemon=True)
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def drained(store: StateStore) -> bool:
    with store.read() as conn:
        return outbox.count_waiting_rows(conn) == 0


def test_the_outbox_is_shipped_in_order_though_shippers_are_killed(
    store: StateStore, state_url: str, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal")
    producers = [start_worker(produce, state_url, journal, number) for number in range(2)]
    shippers = [start_worker(ship_for_ever, state_url, journal, number) for number in range(2)]
    for round_ in range(6):
        time.sleep(0.3)
        victim = round_ % 2
        kill(shippers[victim])
        shippers[victim] = start_worker(ship_for_ever, state_url, journal, victim)
    for producer in producers:
        producer.join()
    deadline = time.monotonic() + 30
    while not drained(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    for shipper in shippers:
        kill(shipper)
    assert_first_deliveries_in_order(Path(journal).read_text(encoding="utf-8").splitlines())


def assert_first_deliveries_in_order(lines: list[str]) -> None:
    seen: dict[str, tuple[str, int, int]] = {}
    for line in lines:
        table, row_id, whose, number = line.split()
        seen.setdefault(row_id, (table, int(whose), int(number)))
    assert len(seen) == 80
    for producer in range(2):
        for parity in range(2):
            of_table = (f"table_{parity}", producer)
            own = [row[2] for row in seen.values() if row[:2] == of_table]
            assert own == list(range(parity, 40, 2))
