"""The audit log's hash chain: it holds for what was written, and breaks for everything else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.state import audit_heads, outbox
from convergence.state.store import StateStore
from convergence.tenants.audit import Actor, AuditedAction, AuditResult, append_entry
from convergence.tenants.audit_chain import GENESIS, ChainHead, find_first_break, hash_entry

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORG = "acme_corp"
BY = Actor("org_key", "key_1", request_id="req_1", address="192.0.2.1")

Rows = list[dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")


@pytest.fixture
def log(store: StateStore) -> Rows:
    """Six entries, as the warehouse gives them back."""
    for number in range(6):
        write_entries(store, number)
    with store.read() as conn:
        return [as_read(row) for row in outbox.list_waiting_rows(conn, "org_audit_logs")]


def write_entries(store: StateStore, number: int, org: str = ORG) -> None:
    with store.begin() as conn:
        act = AuditedAction(org, BY, "credential.store", f"cred_{number}")
        details = {"b": number, "a": "ü"} if number % 2 else None
        now = NOW + timedelta(seconds=number)
        append_entry(conn, act, result=AuditResult.SUCCEEDED, now=now, details=details)


def as_read(row: dict[str, Any]) -> dict[str, Any]:
    details = json.loads(row["details"]) if row["details"] else None
    turned = dict(reversed(details.items())) if details else None
    return {**row, "occurred_at": datetime.fromisoformat(row["occurred_at"]), "details": turned}


def head(store: StateStore) -> ChainHead:
    with store.read() as conn:
        return ChainHead(*audit_heads.read_heads(conn)[ORG])


def test_what_was_written_holds_in_any_order_and_delivered_twice(
    store: StateStore, log: Rows
) -> None:
    assert find_first_break(ORG, [*reversed(log), log[2]], head=head(store)) is None
    assert [row["sequence"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert log[0]["previous_hash"] == GENESIS


CHANGED = {
    "actor": "key_2", "actor_type": "root", "action": "credential.delete", "target": None,
    "result": "FAILED", "request_id": "", "address": "192.0.2.2", "audit_id": "aud_x",
    "occurred_at": NOW, "details": {"a": "ü", "b": 4},
}  # fmt: skip


@pytest.mark.parametrize("field", CHANGED)
def test_a_changed_field_is_named(store: StateStore, log: Rows, field: str) -> None:
    log[3] = log[3] | {field: CHANGED[field]}
    broken = find_first_break(ORG, log, head=head(store))
    assert broken is not None
    assert (broken.sequence, broken.reason) == (4, "its hash does not match its fields")


def _swap(log: Rows) -> Rows:
    third, fourth = dict(log[2]), dict(log[3])
    third["sequence"], fourth["sequence"] = 4, 3
    return [*log[:2], fourth, third, *log[4:]]


def _rewrite(log: Rows) -> Rows:
    """Change an entry and give it a hash that fits."""
    entry = log[2] | {"actor": "key_2"}
    return [*log[:2], entry | {"entry_hash": hash_entry(entry)}, *log[3:]]


def _rewrite_all(log: Rows) -> Rows:
    """Change an entry, and every hash after it."""
    before, rows = log[1]["entry_hash"], log[:2]
    for entry in [log[2] | {"actor": "key_2"}, *log[3:]]:
        linked = entry | {"previous_hash": before}
        linked["entry_hash"] = before = hash_entry(linked)
        rows.append(linked)
    return rows


@pytest.mark.parametrize(
    ("tamper", "place", "reason"),
    [
        (lambda log: [*log[:2], *log[3:]], 3, "missing"),
        (lambda log: log[1:], 1, "missing"),
        (lambda log: log[:-1], 6, "ends before its head"),
        (lambda log: log[:2], 3, "ends before its head"),
        (lambda _: [], 1, "ends before its head"),
        (_swap, 3, "hash does not match its fields"),
        (_rewrite, 4, "previous_hash does not match"),
        (_rewrite_all, 6, "does not match the chain's head"),
        (lambda log: [*log, log[2] | {"actor": "key_2"}], 3, "two entries have this sequence"),
        (lambda log: [*log, log[2] | {"sequence": None}], 0, "has no sequence"),
    ],
)
def test_every_other_way_of_tampering_is_named(
    store: StateStore, log: Rows, tamper: Callable[[Rows], Rows], place: int, reason: str
) -> None:
    broken = find_first_break(ORG, tamper(log), head=head(store))
    assert broken is not None
    assert broken.sequence == place
    assert reason in str(broken)


def test_fields_can_not_be_shifted_into_each_other(log: Rows) -> None:
    one = log[0] | {"action": "ab", "target": "c"}
    other = log[0] | {"action": "a", "target": "bc"}
    none, empty = log[0] | {"target": None}, log[0] | {"target": ""}
    assert len({hash_entry(row) for row in (one, other, none, empty)}) == 4


def test_entries_appended_at_once_form_one_chain_each(store: StateStore, tmp_path: Path) -> None:
    def work(number: int) -> None:
        mine = StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")
        for step in range(10):
            write_entries(mine, number * 10 + step)
            write_entries(mine, step, org="globex_inc")
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as conn:
        rows, heads = outbox.list_waiting_rows(conn, "org_audit_logs"), audit_heads.read_heads(conn)
    for org in (ORG, "globex_inc"):
        mine = [row for row in rows if row["org_slug"] == org]
        assert len(mine) == 40
        assert find_first_break(org, mine, head=ChainHead(*heads[org])) is None
