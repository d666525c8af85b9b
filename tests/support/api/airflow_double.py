"""A small Airflow: the few routes that the API calls, with the real shapes and refusals."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convergence.api.airflow.client import AirflowClient
from convergence.errors import ConvergenceError

USERNAME, PASSWORD = "svc", "svc-password"


class AirflowDouble:
    """Remembers what it was asked; tests set how it stands.

    Attributes:
        dags: how each DAG stands; a DAG that is not here is unknown.
        runs: every run by (dag_id, dag_run_id).
        results: what a task returns, by task id; written into every run.
        calls: method and path of every request.
        broken: when set, answers every request but logins instead of the routes.
        waits: whether a task waits to be taken.
        last_start: when the last task began.
        latency: seconds that reading a DAG takes, so that calls overlap.
        work: when set, does a new run's work at once: (dag_id, conf) to results by task id, or
            to None where the run is left as it is.
    """

    def __init__(self) -> None:
        self.dags: dict[str, dict[str, Any]] = {}
        self.runs: dict[tuple[str, str], dict[str, Any]] = {}
        self.results: dict[str, Any] = {}
        self.calls: list[str] = []
        self.state_of_new_runs = "queued"
        self.broken: Callable[[Request], Response | None] | None = None
        self.work: Callable[[str, dict[str, Any]], dict[str, Any] | None] | None = None
        self.latency = 0.0
        self.waits = False
        self.last_start: datetime | None = None
        self._tokens = itertools.count(1)
        self.token = ""
        one_run = "/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        self.app = Starlette(
            routes=[
                Route("/auth/token", self._login, methods=["POST"]),
                Route("/api/v2/monitor/health", self._health),
                Route("/api/v2/dags/~/dagRuns/~/taskInstances", self._any_tasks),
                Route("/api/v2/dags/{dag_id}", self._dag),
                Route("/api/v2/dags/{dag_id}/dagRuns", self._trigger, methods=["POST"]),
                Route(
                    "/api/v2/dags/{dag_id}/dagRuns/{run_id}", self._run, methods=["GET", "PATCH"]
                ),
                Route(f"{one_run}/taskInstances", self._tasks),
                Route(one_run + "/taskInstances/{task}/xcomEntries/return_value", self._xcom),
            ]
        )

    def add_dag(self, dag_id: str, **changes: bool) -> None:
        """Make a DAG known; by default it is sound and unpaused."""
        sound = {"is_paused": False, "is_stale": False, "has_import_errors": False}
        self.dags[dag_id] = {"dag_id": dag_id, **sound, **changes}

    def triggered(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG."""
        return [run for (dag, _), run in self.runs.items() if dag == dag_id]

    def expire_token(self) -> None:
        """Refuse the token that was given out."""
        self.token = "expired"

    def _refusal(self, request: Request) -> Response | None:
        self.calls.append(f"{request.method} {request.url.path}")
        if self.broken is not None and (answer := self.broken(request)) is not None:
            return answer
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return JSONResponse({"detail": "Invalid JWT token"}, status_code=401)
        return None

    async def _login(self, request: Request) -> Response:
        self.calls.append("POST /auth/token")
        if await request.json() != {"username": USERNAME, "password": PASSWORD}:
            return JSONResponse({"detail": "Invalid credentials"}, status_code=401)
        self.token = f"token-{next(self._tokens)}"
        return JSONResponse({"access_token": self.token}, status_code=201)

    async def _health(self, request: Request) -> Response:
        if self.broken is not None and (answer := self.broken(request)) is not None:
            return answer
        healthy = {"status": "healthy"}
        names = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return JSONResponse(dict.fromkeys(names, healthy))

    async def _any_tasks(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        query = request.query_params
        if query.getlist("state"):
            assert datetime.fromisoformat(query["run_after_lte"])
            found: list[str | None] = [None] if self.waits else []
        else:
            assert query["order_by"] == "-start_date"
            found = [self.last_start.isoformat()] if self.last_start else []
        return JSONResponse({"task_instances": [{"start_date": each} for each in found]})

    async def _dag(self, request: Request) -> Response:
        await asyncio.sleep(self.latency)
        if (refusal := self._refusal(request)) is not None:
            return refusal
        dag = self.dags.get(request.path_params["dag_id"])
        return JSONResponse(dag) if dag else _missing("Dag")

    async def _trigger(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        dag_id, body = request.path_params["dag_id"], await request.json()
        dag = self.dags.get(dag_id)
        if dag is None or dag["is_stale"]:
            return _missing("Dag")
        if dag["has_import_errors"]:
            return JSONResponse({"detail": "has import errors"}, status_code=400)
        if "logical_date" not in body or body["logical_date"] is not None:
            return JSONResponse({"detail": "logical_date"}, status_code=422)
        key = (dag_id, body["dag_run_id"])
        if key in self.runs:
            return JSONResponse({"detail": "already exists"}, status_code=409)
        self.runs[key] = {
            "dag_id": dag_id,
            "dag_run_id": body["dag_run_id"],
            "state": self.state_of_new_runs,
            "conf": body["conf"],
            "start_date": None,
            "end_date": None,
        }
        if self.work is not None:
            await asyncio.to_thread(self._do_work, self.runs[key])
        return JSONResponse(self.runs[key])

    def _do_work(self, run: dict[str, Any]) -> None:
        assert self.work is not None
        try:
            if (told := self.work(run["dag_id"], run["conf"])) is None:
                return
            self.results |= told
            run["state"] = "success"
        except ConvergenceError:
            run["state"] = "failed"

    async def _run(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        run = self.runs.get((request.path_params["dag_id"], request.path_params["run_id"]))
        if run is None:
            return _missing("DagRun")
        if request.method == "PATCH":
            run["state"] = (await request.json())["state"]
        return JSONResponse(run)

    async def _tasks(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        run = self.runs[request.path_params["dag_id"], request.path_params["run_id"]]
        tasks = [{"task_id": task, "map_index": -1, "state": run["state"]} for task in self.results]
        return JSONResponse({"task_instances": tasks, "total_entries": len(tasks)})

    async def _xcom(self, request: Request) -> Response:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        task = request.path_params["task"]
        if task not in self.results:
            return _missing("XCom")
        return JSONResponse({"key": "return_value", "value": json.dumps(self.results[task])})


def _missing(what: str) -> JSONResponse:
    return JSONResponse({"detail": f"{what} not found"}, status_code=404)


def connect_double(double: AirflowDouble) -> AirflowClient:
    """Return a client whose requests the double serves in this process."""
    return AirflowClient(
        "http://airflow.test",
        username=USERNAME,
        password=PASSWORD,
        first_wait_seconds=0.0,
        transport=httpx.ASGITransport(double.app),
    )
