"""The plugin: light where tasks import it, and really mounted where the API server asks for it."""

from __future__ import annotations

import json
import os
import sys
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


def run_code(code: str, home: Path, **environment: str) -> Any:
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(PLUGINS),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "CONVERGENCE_VAR_DIR": str(home / "var"),
        "BIGQUERY_EMULATOR_HOST": "http://127.0.0.1:9",
        **environment,
    }
    done = guarded.run(
        [sys.executable, "-c", code],
        env=env,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_importing_the_plugin_imports_nothing_else_of_ours(tmp_path: Path) -> None:
    assert run_code(IMPORT, tmp_path) == ["convergence_plugin"]


def test_the_api_server_mounts_the_app_and_runs_its_lifespan(tmp_path: Path) -> None:
    seen = run_code(MOUNT, tmp_path)
    assert seen["live"][0] == 200
    assert seen["live"][1]["status"] == "ok"
    assert seen["closed"] == [401, "not_authenticated"]
    assert seen["reserved"] == []
    assert seen["background_tasks"].count("_repeat") >= 2


def test_the_api_server_does_not_start_with_a_wrong_production(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="CA_ROOT_API_KEY"):
        run_code(MOUNT, tmp_path, ENVIRONMENT="production")


PRODUCTION = {
    "ENVIRONMENT": "production",
    "BIGQUERY_EMULATOR_HOST": "",
    "CA_ROOT_API_KEY": "root_0123456789abcdefghijklmnopqrstuvwxyz",
    "KMS_KEY_NAME": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "AIRFLOW__API__SERVER_TYPE": "gunicorn",
}
BUILD = """
import json, sys
sys.argv = ["airflow", "api-server", *sys.argv[1:], {option!r}]
import convergence_plugin
convergence_plugin.ConvergencePlugin().fastapi_apps
print(json.dumps("built"))
"""


def test_production_does_not_start_where_gunicorn_believes_every_client(tmp_path: Path) -> None:
    with_flag = BUILD.format(option="--proxy-headers")
    with pytest.raises(AssertionError, match="FORWARDED_ALLOW_IPS: missing"):
        run_code(with_flag, tmp_path, **PRODUCTION)
    assert run_code(BUILD.format(option="--apps=all"), tmp_path, **PRODUCTION) == "built"
    named = PRODUCTION | {"FORWARDED_ALLOW_IPS": "10.0.0.0/8"}
    assert run_code(with_flag, tmp_path, **named) == "built"
    with pytest.raises(AssertionError, match="FORWARDED_ALLOW_IPS: \\* trusts every address"):
        run_code(with_flag, tmp_path, **named | {"FORWARDED_ALLOW_IPS": "*"})
