from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

from stack import guarded
from stack.celery import CeleryStack
from stack.errors import StackError
from stack.secrets import LocalSecrets
from stack.settings import CeleryStackSettings, StackSettings

TOOLS = Path(__file__).resolve().parents[3] / "tools"


@pytest.fixture
def stack(tmp_path: Path) -> CeleryStack:
    stack = CeleryStack(CeleryStackSettings(CONVERGENCE_VAR_DIR=tmp_path), say=lambda _line: None)
    stack.secrets = LocalSecrets.load_or_make(tmp_path / "secrets")
    return stack


def test_the_two_stacks_share_no_state() -> None:
    assert CeleryStackSettings().var_dir != StackSettings().var_dir


def test_secrets_of_an_older_stack_are_kept_and_completed(tmp_path: Path) -> None:
    made = LocalSecrets.load_or_make(tmp_path)
    kept = {name: value for name, value in made.__dict__.items() if "database" not in name}
    (tmp_path / "stack.json").write_text(json.dumps(kept))
    again = LocalSecrets.load_or_make(tmp_path)
    assert again.root_api_key == made.root_api_key
    assert again.database_password
    assert LocalSecrets.load_or_make(tmp_path) == again


def test_only_api_servers_hold_the_root_key(stack: CeleryStack) -> None:
    holders = {each.name for each in stack.services() if "CA_ROOT_API_KEY" in each.env}
    assert holders == {"api-server-1", "api-server-2"}


def test_each_api_server_speaks_to_itself_and_the_worker_to_the_second(stack: CeleryStack) -> None:
    env = {each.name: each.env for each in stack.services()}
    for name, url in zip(("api-server-1", "api-server-2"), stack.settings.base_urls, strict=True):
        assert env[name]["AIRFLOW_API_URL"] == url
        assert url.endswith(f":{env[name]['AIRFLOW__API__PORT']}")
    reports_to = env["worker"]["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]
    assert reports_to == f"{stack.settings.base_urls[1]}/execution/"


def test_no_secret_is_on_a_command_line(stack: CeleryStack) -> None:
    said = " ".join(part for each in stack.services() for part in each.command)
    assert not any(value in said for value in stack.secrets.__dict__.values())


def test_a_missing_redis_is_named(stack: CeleryStack) -> None:
    from stack import databases

    with pytest.raises(StackError, match="redis-server is missing"):
        databases.redis_service(stack.settings, stack.secrets, find=lambda _name: None)


def test_a_database_outlives_its_clients(tmp_path: Path) -> None:
    # In a process of its own: `stop_all` stops every descendant of its caller.
    launcher = textwrap.dedent("""
        import os, pathlib, signal, sys, time
        from stack.processes import Component, stop_all

        here = pathlib.Path(sys.argv[1])
        out = here / "out"
        start = "import os, signal, sys, time, pathlib; out = pathlib.Path(sys.argv[1])\\n"
        client = start + (
            "def end(*_):\\n time.sleep(1); open(out, 'a').write('client '); sys.exit()\\n"
            "signal.signal(signal.SIGTERM, end)\\nopen(out, 'a').write('. ')\\ntime.sleep(60)"
        )
        database = start + (
            "def end(*_):\\n open(out, 'a').write('database '); sys.exit()\\n"
            "signal.signal(signal.SIGINT, end)\\nopen(out, 'a').write('. ')\\ntime.sleep(60)"
        )
        started = [
            Component(name, [sys.executable, "-c", code, str(out)], env=os.environ,
                      log=here / name, cwd=here, stop_signal=number,
                      stops_last=name == "database")
            for name, code, number in (
                ("database", database, signal.SIGINT), ("client", client, signal.SIGTERM))
        ]
        for each in started:
            each.start()
        while not out.exists() or out.read_text().count(".") < 2:
            time.sleep(0.01)
        print(stop_all(started, grace_seconds=10), out.read_text())
    """)
    told = guarded.run(
        [sys.executable, "-c", launcher, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(TOOLS)},
        timeout=30,
    )
    assert told.stdout.split() == ["[]", ".", ".", "client", "database"], told.stderr
