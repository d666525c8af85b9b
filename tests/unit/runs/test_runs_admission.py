"""Admission: slot, record and idempotency key are taken together or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from convergence.errors import ConflictError, LimitError, PipelineDisabledError
from convergence.runs import admission
from convergence.runs.admission import admit_run, limit_background_runs, require_enabled
from convergence.runs.eligibility import Eligibility
from convergence.runs.log_rows import RUN_LOG
from convergence.state import idempotency, org_runs, outbox, slots
from convergence.state.idempotency import KeyClaim, StoredResponse
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.slots import RunLimits, SlotTaken
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ACME = "acme_corp"
ELIGIBLE = Eligibility(ACME, "ACTIVE", plan="STARTER", limits=RunLimits(3, 10, 2))


def new_run(number: int, *, debited: bool = True) -> OrgRun:
    return OrgRun(
        run_id=f"run_{number}",
        org_slug=ACME,
        pipeline_id="openai-usage-cost",
        dag_id="openai.cost.usage_cost",
        dag_run_id=f"api__{number}",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
        status=RunStatus.PENDING,
        debited=debited,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
    yield store
    store.close()


def admit(store: StateStore, number: int, *, in_background: bool = False) -> SlotTaken:
    with store.begin() as conn:
        return admit_run(
            conn, new_run(number), eligibility=ELIGIBLE, now=NOW, in_background=in_background
        )


def stored_runs(store: StateStore) -> tuple[list[str], int]:
    """Return the ids of the recorded runs and the number of log rows."""
    with store.read() as conn:
        runs = org_runs.list_for_org(conn, ACME, limit=100)
        return sorted(run.run_id for run in runs), len(outbox.list_waiting_rows(conn, RUN_LOG))


def test_an_admitted_run_is_recorded_and_logged_once(store: StateStore) -> None:
    assert admit(store, 1) == SlotTaken("run_1")
    assert admit(store, 1) == SlotTaken("run_1", taken_before=True)
    assert stored_runs(store) == (["run_1"], 1)


def test_a_run_beyond_the_limit_leaves_no_trace(store: StateStore) -> None:
    admit(store, 1)
    admit(store, 2)
    with pytest.raises(LimitError, match="The plan allows 2 runs at once; 2 are used") as caught:
        admit(store, 3)
    assert caught.value.details == {
        "limit": "concurrent_runs",
        "maximum": 2,
        "used": 2,
        "plan": "STARTER",
        "resets_at": None,
        "retry_after": 30,
    }
    assert stored_runs(store) == (["run_1", "run_2"], 2)


def test_a_daily_limit_says_when_it_resets(store: StateStore) -> None:
    eligible = replace(ELIGIBLE, limits=RunLimits(1, 10, 5))
    admit(store, 1)
    with store.begin() as conn, pytest.raises(LimitError) as caught:
        admit_run(conn, new_run(2), eligibility=eligible, now=NOW)
    assert caught.value.details["resets_at"] == datetime(2026, 11, 22, tzinfo=UTC)
    assert caught.value.details["retry_after"] == timedelta(hours=12).total_seconds()


def test_a_background_run_leaves_a_slot_free(store: StateStore) -> None:
    admit(store, 1, in_background=True)
    with pytest.raises(LimitError, match="Imports may use 1 runs at once; 1 are used"):
        admit(store, 2, in_background=True)
    admit(store, 2)
    assert limit_background_runs(RunLimits(8, 1, 1)) == RunLimits(6, 1, 1)


def test_an_org_without_a_quota_is_not_admitted(store: StateStore) -> None:
    with store.begin() as conn, pytest.raises(ConflictError, match="no quota") as caught:
        admit_run(conn, new_run(1), eligibility=replace(ELIGIBLE, limits=None), now=NOW)
    assert caught.value.details == {"reason": "quota_missing"}


def test_a_disabled_pipeline_is_not_admitted() -> None:
    config = PipelineConfig(ACME, "openai-usage-cost", "dag", None, NOW, "key_1", params={"a": 1})
    assert require_enabled(None) == {}
    assert require_enabled(config) == {"a": 1}
    with pytest.raises(PipelineDisabledError):
        require_enabled(replace(config, enabled=False))


# --- crashes and interleavings ------------------------------------------------------------------


class Killed(BaseException):
    """A process that dies: nothing after it runs."""


STEPS: list[tuple[object, str]] = [
    (slots, "take_slot"),
    (admission, "build_run_row"),
    (outbox, "enqueue_row"),
]


@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("after", [False, True])
def test_a_process_that_dies_before_the_commit_leaves_no_key_no_slot_and_no_run(
    store: StateStore,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    after: bool,  # a parameter of the test
) -> None:
    step: Callable[..., object] = getattr(module, name)

    def die(*args: object, **kwargs: object) -> object:
        if after:
            step(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, die)
        with pytest.raises(Killed):
            claim_and_admit(store, 1)
    assert stored_runs(store) == ([], 0)
    with store.begin() as conn:
        assert isinstance(claim(conn), KeyClaim)
        assert slots.count_usage(conn, ACME, now=NOW) == (0, 0, 0)


def test_a_denied_run_leaves_its_idempotency_key_free(store: StateStore) -> None:
    admit(store, 1)
    admit(store, 2)
    with pytest.raises(LimitError):
        claim_and_admit(store, 3)
    with store.begin() as conn:
        assert isinstance(claim(conn), KeyClaim)


def test_a_repeated_request_replays_and_takes_no_second_slot(store: StateStore) -> None:
    claimed = claim_and_admit(store, 1)
    assert isinstance(claimed, KeyClaim)
    with store.begin() as conn:
        assert idempotency.complete_claim(conn, claimed, status=202, body={"run_id": "run_1"})
    with store.begin() as conn:
        assert claim(conn) == StoredResponse(202, {"run_id": "run_1"})
    assert stored_runs(store) == (["run_1"], 1)


def test_of_many_that_want_the_last_slot_one_gets_it(store: StateStore) -> None:
    admit(store, 1)
    barrier = threading.Barrier(6)

    def attempt(number: int) -> bool:
        barrier.wait(timeout=30)
        try:
            admit(store, number)
        except LimitError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        admitted = list(pool.map(attempt, range(2, 8)))
    assert admitted.count(True) == 1
    runs, logged = stored_runs(store)
    assert (len(runs), logged) == (2, 2)


def claim(conn: Connection) -> object:
    return idempotency.claim_key(conn, ACME, "key", request_hash="hash", now=NOW)


def claim_and_admit(store: StateStore, number: int) -> object:
    with store.begin() as conn:
        claimed = claim(conn)
        admit_run(conn, new_run(number), eligibility=ELIGIBLE, now=NOW)
    return claimed
