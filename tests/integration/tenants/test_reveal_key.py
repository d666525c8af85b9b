"""An org's key in clear for support: never without a name, a reason and an audit entry."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from convergence.errors import NotFoundError, RequestError, StateUnavailableError
from convergence.security.kms import KeyManager
from convergence.security.redaction import redact
from convergence.settings import PROJECT_ROOT, Settings
from convergence.state import outbox
from convergence.state.store import StateStore
from convergence.tenants.api_keys import reveal_key
from convergence.tenants.api_keys.keys import IssuedKey, issue_key, revoke_key
from convergence.tenants.audit import AUDIT_LOG
from convergence.warehouse.client import Warehouse
from stack import guarded
from support.tenant_owner import BY, NOW, NewOrg

OPERATOR, REASON = "Ada Lovelace", "ticket 4711: the customer lost it"


@pytest.fixture
def key(store: StateStore, warehouse: Warehouse, kms: KeyManager, new_org: NewOrg) -> IssuedKey:
    return issue_key(store, warehouse, kms, new_org(), scopes=["all"], by=BY, now=NOW)


@pytest.fixture
def asked(store: StateStore, warehouse: Warehouse, kms: KeyManager, key: IssuedKey) -> Any:
    """Request the key; by default as documented."""

    def ask(**changes: Any) -> str:
        proper: dict[str, Any] = {
            "org_slug": key.org_slug,
            "key_id": key.key_id,
            "operator": OPERATOR,
            "reason": REASON,
            "now": NOW,
        }
        kept = changes.pop("store", store)
        return reveal_key.reveal_key(kept, warehouse, kms, **{**proper, **changes})

    return ask


def audit_of(store: StateStore) -> list[tuple[str, str, Any]]:
    with store.read() as conn:
        rows = outbox.list_waiting_rows(conn, AUDIT_LOG)
    return [
        (row["actor"], row["result"], row["details"])
        for row in rows
        if row["action"] == "api_key.reveal"
    ]


def test_an_active_key_is_shown_and_the_audit_says_to_whom_and_why(
    store: StateStore, key: IssuedKey, asked: Any
) -> None:
    assert asked() == key.secret
    told = audit_of(store)
    assert [(actor, result) for actor, result, _ in told] == [
        (f"operator:{OPERATOR}", "ATTEMPTED"),
        (f"operator:{OPERATOR}", "SUCCEEDED"),
    ]
    assert REASON in told[0][2]
    assert key.secret not in str(told)
    assert key.secret not in redact(f"a log line with {key.secret}")


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": ""},
        {"operator": " \n"},
        {"reason": ""},
        {"reason": "because"},
        {"reason": "x" * 501},
        {"reason": "a reason with \x1b[2J in it"},
        {"org_slug": "No Slug"},
    ],
)
def test_without_a_name_and_a_reason_nothing_is_asked(
    store: StateStore, asked: Any, changes: dict[str, str]
) -> None:
    with pytest.raises(RequestError):
        asked(**changes)
    assert audit_of(store) == []


def test_a_key_that_opens_nothing_any_more_is_not_shown_and_the_attempt_is_kept(
    store: StateStore, warehouse: Warehouse, *, key: IssuedKey, asked: Any, new_org: NewOrg
) -> None:
    revoke_key(store, warehouse, org_slug=key.org_slug, key_id=key.key_id, by=BY, now=NOW)
    for changes in ({}, {"key_id": "key_of_nobody"}, {"org_slug": new_org()}):
        with pytest.raises(NotFoundError):
            asked(**changes)
    assert [result for _, result, _ in audit_of(store)] == ["REFUSED"] * 3
    with pytest.raises(NotFoundError):
        asked(org_slug="org_that_is_not")


def test_an_expired_key_is_not_shown(
    store: StateStore, warehouse: Warehouse, *, kms: KeyManager, asked: Any, key: IssuedKey
) -> None:
    ends = NOW + timedelta(hours=1)
    short = issue_key(
        store, warehouse, kms, key.org_slug, scopes=["all"], by=BY, now=NOW, not_after=ends
    )
    assert asked(key_id=short.key_id, now=ends - timedelta(seconds=1)) == short.secret
    with pytest.raises(NotFoundError):
        asked(key_id=short.key_id, now=ends)


class Failing(StateStore):
    """A store whose n-th write is refused."""

    writes_left: int

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        if self.writes_left == 0:
            raise StateUnavailableError("The state store does not answer")
        self.writes_left -= 1
        with super().begin() as conn:
            yield conn


@pytest.mark.parametrize("writes", [0, 1])
def test_what_can_not_be_audited_is_not_shown(store: StateStore, asked: Any, writes: int) -> None:
    failing = Failing(store._engine)
    failing.writes_left = writes
    with pytest.raises(StateUnavailableError):
        asked(store=failing)
    assert len(audit_of(store)) == writes


def command(key: IssuedKey, *more: str) -> list[str]:
    told = ["--org", key.org_slug, "--key-id", key.key_id, "--operator", OPERATOR]
    module = "convergence.tenants.api_keys.reveal_key"
    return [sys.executable, "-m", module, *told, "--reason", REASON, *more]


@pytest.fixture
def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(PROJECT_ROOT / "plugins"),
        "BIGQUERY_EMULATOR_HOST": str(settings.bigquery_emulator_host),
        "KMS_EMULATOR_HOST": str(settings.kms_emulator_host),
        "KMS_KEY_NAME": str(settings.kms_key_name),
        "STATE_DATABASE_URL": f"sqlite:///{tmp_path / 'state.db'}",
    }


def test_the_tool_prints_to_a_terminal_and_nowhere_else(
    key: IssuedKey, environment: dict[str, str], store: StateStore
) -> None:
    piped = guarded.run(command(key), env=environment, timeout=60)
    assert (piped.returncode, piped.stdout) == (1, "")
    assert "not a terminal" in piped.stderr
    assert audit_of(store) == []

    ours, theirs = pty.openpty()
    shown = guarded.run(
        command(key),
        env=environment,
        stdout=theirs,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(theirs)
    assert shown.returncode == 0, shown.stderr
    assert os.read(ours, 4096).decode().split() == [key.secret]
    os.close(ours)
    assert key.secret not in shown.stderr
    assert [result for _, result, _ in audit_of(store)] == ["ATTEMPTED", "SUCCEEDED"]


def test_the_tool_says_why_it_refuses_and_logs_no_key(
    key: IssuedKey,
    *,
    settings: Settings,
    store: StateStore,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reveal_key, "get_settings", lambda: settings)
    monkeypatch.setattr(StateStore, "connect", lambda _url: store)
    caplog.set_level(logging.DEBUG)
    assert reveal_key.main([*command(key)[3:], "--pipe"]) == 0
    out = capsys.readouterr()
    assert (out.out, key.secret in out.err) == (f"{key.secret}\n", False)
    assert key.secret not in caplog.text
    unknown = command(key, "--pipe")[3:]
    unknown[3] = "key_of_nobody"
    assert reveal_key.main(unknown) == 1
    assert "no such active key" in capsys.readouterr().err
