"""The plugin: light where tasks import it, and really mounted where the API server asks for it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stack import guarded

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

pytestmark = pytest.mark.airflow

IMPORT = """
import json, sys
from airflow.plugins_manager import AirflowPlugin
before = set(sys.modules)
import convergence_plugin
convergence_plugin.ConvergencePlugin()
print(json.dumps(sorted(set(sys.modules) - before)))
"""

MOUNT = """
import asyncio, json
from fastapi import FastAPI
from fastapi.testclient import TestClient
from airflow.api_fastapi.app import RESERVED_URL_PREFIXES, init_plugins, lifespan
import convergence_plugin
async def tasks():
    return [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
app = FastAPI(lifespan=lifespan)
init_plugins(app)
with TestClient(app) as client:
    live, closed = client.get("/api/v1/health"), client.get("/api/v1/pipelines")
    background_tasks = client.portal.call(tasks)
print(json.dumps({
    "live": [live.status_code, live.json()],
    "closed": [closed.status_code, closed.json()["code"]],
    "reserved": [p for p in RESERVED_URL_PREFIXES if convergence_plugin.PREFIX.startswith(p)],
    "background_tasks": background_tasks,
}))
"""
BUILD = """
import json
import convergence_plugin
convergence_plugin.ConvergencePlugin().fastapi_apps
print(json.dumps("built"))
"""
# Imports Airflow once: each program runs in a fork, with variables and arguments of its own.
FORKS = """
import json, os, pathlib, sys, traceback
import airflow.plugins_manager, airflow.api_fastapi.app, fastapi.testclient

def run_program(name, code, environment, arguments):
    if (pid := os.fork()) == 0:
        status = 1
        for descriptor in (1, 2):
            os.dup2(os.open(f"{name}.{descriptor}", os.O_WRONLY | os.O_CREAT), descriptor)
        try:
            os.environ |= environment
            sys.argv = ["airflow", "api-server", *arguments]
            exec(code, {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

programs = json.loads(pathlib.Path("programs.json").read_text())
ours = [name for name in sys.modules if name.startswith("convergence")]
statuses = {name: run_program(name, *program) for name, program in programs.items()}
print(json.dumps({"ours": ours, "statuses": statuses}))
"""
PRODUCTION = {
    "ENVIRONMENT": "production",
    "BIGQUERY_EMULATOR_HOST": "",
    "CA_ROOT_API_KEY": "root_0123456789abcdefghijklmnopqrstuvwxyz",
    "KMS_KEY_NAME": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "AIRFLOW__API__SERVER_TYPE": "gunicorn",
}
FLAG = ["--proxy-headers"]
# Of each program: its code, and what its process has besides the common variables and arguments.
PROGRAMS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "import": (IMPORT, {}, []),
    "mount": (MOUNT, {}, []),
    "mount in a wrong production": (MOUNT, {"ENVIRONMENT": "production"}, []),
    "all clients": (BUILD, PRODUCTION, FLAG),
    "no flag": (BUILD, PRODUCTION, ["--apps=all"]),
    "named proxies": (BUILD, PRODUCTION | {"FORWARDED_ALLOW_IPS": "10.0.0.0/8"}, FLAG),
    "every address": (BUILD, PRODUCTION | {"FORWARDED_ALLOW_IPS": "*"}, FLAG),
}


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it wrote."""

    status: int
    printed: str
    errors: str

    @property
    def result(self) -> Any:
        """The JSON of the last line that the program printed."""
        assert self.status == 0, self.errors[-3000:]
        return json.loads(self.printed.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    home = tmp_path_factory.mktemp("plugin")
    (home / "programs.json").write_text(json.dumps(PROGRAMS))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(PLUGINS),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "CONVERGENCE_VAR_DIR": str(home / "var"),
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
    }
    done = guarded.run([sys.executable, "-c", FORKS], env=env, cwd=home, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["ours"] == [], "each fork must import our code itself"
    return {
        name: Outcome(status, *((home / f"{name}.{fd}").read_text() for fd in (1, 2)))
        for name, status in found["statuses"].items()
    }


def test_importing_the_plugin_imports_nothing_else_of_ours(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["import"].result == ["convergence_plugin"]


def test_the_api_server_mounts_the_app_and_runs_its_lifespan(outcomes: dict[str, Outcome]) -> None:
    seen = outcomes["mount"].result
    assert seen["live"][0] == 200
    assert seen["live"][1]["status"] == "ok"
    assert seen["closed"] == [401, "not_authenticated"]
    assert seen["reserved"] == []
    assert seen["background_tasks"].count("_repeat") >= 2


def test_the_api_server_does_not_start_with_a_wrong_production(
    outcomes: dict[str, Outcome],
) -> None:
    outcome = outcomes["mount in a wrong production"]
    assert outcome.status != 0
    assert "CA_ROOT_API_KEY" in outcome.errors


def test_production_does_not_start_where_gunicorn_believes_every_client(
    outcomes: dict[str, Outcome],
) -> None:
    assert outcomes["all clients"].status != 0
    assert "FORWARDED_ALLOW_IPS: missing" in outcomes["all clients"].errors
    assert outcomes["no flag"].result == "built"
    assert outcomes["named proxies"].result == "built"
    assert outcomes["every address"].status != 0
    assert "FORWARDED_ALLOW_IPS: * trusts every address" in outcomes["every address"].errors
