from __future__ import annotations

import os
import socket
import stat
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from stack import guarded
from stack.demo import demo_range
from stack.errors import StackError
from stack.lock import StateLock
from stack.ports import check_ports_free
from stack.reconciliation_report import render_reconciliation
from stack.secrets import LocalSecrets

TOOLS = Path(__file__).resolve().parents[3] / "tools"


def test_every_busy_port_is_named_with_its_variable() -> None:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
            each.listen()
        ports = {"PORT": one.getsockname()[1], "SANDBOX_KMS_PORT": two.getsockname()[1]}
        with pytest.raises(StackError) as caught:
            check_ports_free(ports)
    for variable, port in ports.items():
        assert f"port {port} is in use; set {variable}" in str(caught.value)


def test_one_port_for_two_services_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StackError, match="given twice: PORT and SANDBOX_KMS_PORT"):
        check_ports_free({"PORT": port, "SANDBOX_KMS_PORT": port})


def test_a_second_stack_on_the_same_state_says_who_holds_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from stack.lock import StateLock;"
        "StateLock(pathlib.Path(sys.argv[1])).__enter__()"
    )
    with StateLock(tmp_path):
        told = guarded.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(TOOLS)},
            timeout=110,
        )
    assert told.returncode != 0
    assert f"a stack already runs on {tmp_path} (process {os.getpid()})" in told.stderr
    with StateLock(tmp_path):
        pass


def test_secrets_are_made_once_and_only_for_their_owner(tmp_path: Path) -> None:
    made = LocalSecrets.load_or_make(tmp_path)
    assert LocalSecrets.load_or_make(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600
    assert len(made.root_api_key) >= 32
    assert len(made.jwt_secret) >= 64


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 11, 21, 0, 0, tzinfo=UTC), (date(2026, 11, 18), date(2026, 11, 20))),
        (datetime(2024, 3, 1, 23, 59, tzinfo=UTC), (date(2024, 2, 27), date(2024, 2, 29))),
    ],
)
def test_the_demo_shows_the_last_three_complete_utc_days(
    now: datetime, expected: tuple[date, date]
) -> None:
    assert demo_range(now) == expected


def test_the_report_shows_why_bill_and_computed_cost_differ() -> None:
    total = {
        "currency": "USD",
        "computed_cost": "10",
        "billed_cost": "11.3",
        "difference": "1.3",
        "explained_share": "0.769231",
        "days_compared": 3,
    }
    row = {"stream": "openai/api", "currency": "USD", "reason": "regional", "difference": "1"}
    rows = [
        {**row, "unexplained_amount": "0"},
        {**row, "reason": "price_differs", "difference": "0.3", "unexplained_amount": "0.3"},
    ]
    lines = render_reconciliation("acme", {"totals": [total], "rows": rows})
    assert "acme   bill and computed cost in USD, 3 days" in lines[0]
    assert [line.split()[1:] for line in lines[4:6]] == [
        ["regional", "1"],
        ["price_differs", "0.3", "not", "explained"],
    ]
    assert lines[6].split() == ["explained", "76.9231%"]
