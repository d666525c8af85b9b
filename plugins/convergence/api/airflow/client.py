"""The few calls we make to Airflow's public REST API, through one pooled asynchronous client.

Paths, bodies and answers are those of Airflow 3.3 (`/auth/token`, `/api/v2`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from convergence.errors import (
    ConfigurationError,
    OrchestratorUnavailableError,
    PipelineUnavailableError,
)
from convergence.runs.readiness import DagState
from convergence.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8080"
_TIMEOUT = httpx.Timeout(10.0, connect=3.0, pool=5.0)
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10)
_ENDED = frozenset({"success", "failed"})
# Airflow's SQLite gives up on a lock after 5 s, which a second try finds free.
_MOST_TRIES = 4
_TRIES_BEGIN_WITHIN = 8.0
_LONGEST_SECONDS = 25.0


@dataclass(frozen=True)
class DagRun:
    """One Airflow run. `state` is queued, running, success or failed."""

    dag_id: str
    dag_run_id: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether Airflow has finished with it."""
        return self.state in _ENDED


class AirflowClient:
    """Triggers and reads runs as the service account.

    Whatever it asks may be asked twice, since the ids of runs are ours; so it asks again for some
    seconds while Airflow does not answer or answers 5xx, and then raises
    `OrchestratorUnavailableError`, as at once when Airflow refuses the account.

    Args:
        base_url: where Airflow's API server listens.
        username: the service account's.
        password: the service account's.
        most_changes: how many changes may be asked for at once; None is any number.
        first_wait_seconds: before the second try, at most; it doubles for each further one.
        transport: instead of the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str,
        password: str,
        most_changes: int | None = None,
        first_wait_seconds: float = 0.2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = {"username": username, "password": password}
        self._token: str | None = None
        self._login = asyncio.Lock()
        self._changes: AbstractAsyncContextManager[object] = (
            asyncio.Semaphore(most_changes) if most_changes else nullcontext()
        )
        self._wait = wait_random_exponential(first_wait_seconds, max=2.0)
        self._http = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            timeout=_TIMEOUT,
            limits=_LIMITS,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    @classmethod
    def connect(cls, settings: Settings) -> AirflowClient:
        """A client for `AIRFLOW_API_URL`; nothing is sent yet."""
        password = settings.airflow_api_password
        return cls(
            settings.airflow_api_url or DEFAULT_URL,
            username=settings.airflow_api_username or "",
            password=password.get_secret_value() if password else "",
            most_changes=settings.airflow_api_most_changes,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._http.aclose()

    async def dag(self, dag_id: str) -> DagState:
        """How the DAG stands.

        Raises:
            PipelineUnavailableError: Airflow does not know it.
        """
        answer = await self._send("GET", f"/api/v2/dags/{_part(dag_id)}")
        if answer.status_code == 404:
            raise _unavailable("unknown")
        body = _document(answer)
        return DagState(
            dag_id=dag_id,
            is_paused=bool(body["is_paused"]),
            is_stale=bool(body["is_stale"]),
            has_import_errors=bool(body["has_import_errors"]),
        )

    async def trigger(self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, object]) -> DagRun:
        """Start a run, or find the one that has this id already.

        Raises:
            PipelineUnavailableError: the DAG is unknown or stale.
            ConfigurationError: Airflow refuses the run: import errors, or params it does not take.
        """
        body = {"dag_run_id": dag_run_id, "logical_date": None, "conf": dict(conf)}
        try:
            answer = await self._send("POST", f"/api/v2/dags/{_part(dag_id)}/dagRuns", json=body)
        except OrchestratorUnavailableError:
            # The reply may have been lost after Airflow had taken the run: look before giving up.
            found = await self.dag_run(dag_id, dag_run_id)
            if found is None:
                raise
            return found
        if answer.status_code == 409:
            found = await self.dag_run(dag_id, dag_run_id)
            if found is not None:
                return found
            raise _unavailable("conflict")
        if answer.status_code == 404:
            raise _unavailable("unknown")
        if answer.status_code in {400, 422}:
            raise ConfigurationError(
                "The pipeline can't run as it is configured.", told=answer.text[:500]
            )
        return _run(_document(answer))

    async def dag_run(self, dag_id: str, dag_run_id: str) -> DagRun | None:
        """The run, or None when Airflow has none of that id."""
        answer = await self._send("GET", _run_path(dag_id, dag_run_id))
        return None if answer.status_code == 404 else _run(_document(answer))

    async def stop(self, dag_id: str, dag_run_id: str) -> None:
        """Fail a run, which ends its running tasks; a run that is gone is stopped already."""
        answer = await self._send("PATCH", _run_path(dag_id, dag_run_id), json={"state": "failed"})
        if answer.status_code not in {404, 409}:
            _document(answer)

    async def result(self, dag_id: str, dag_run_id: str, task_id: str) -> object | None:
        """What an unmapped task returned, parsed; None when it returned nothing."""
        path = f"{_run_path(dag_id, dag_run_id)}/taskInstances/{_part(task_id)}"
        answer = await self._send("GET", f"{path}/xcomEntries/return_value")
        if answer.status_code == 404:
            return None
        value: object = _document(answer).get("value")
        if not isinstance(value, str):
            return value
        try:
            parsed: object = json.loads(value)
        except ValueError:
            return value
        return parsed

    async def task_states(self, dag_id: str, dag_run_id: str) -> dict[str, str]:
        """State of each unmapped task instance, by task id."""
        answer = await self._send("GET", f"{_run_path(dag_id, dag_run_id)}/taskInstances")
        if answer.status_code == 404:
            return {}
        found = _document(answer).get("task_instances", [])
        return {task["task_id"]: task["state"] for task in found if task["map_index"] == -1}

    async def has_waiting_task(self, *, of_runs_before: datetime) -> bool:
        """Whether a task of a run that began before an instant waits to be taken."""
        states = [("state", "scheduled"), ("state", "queued")]
        query = httpx.QueryParams([*states, ("run_after_lte", of_runs_before.isoformat())])
        return bool(await self._task_instances(query))

    async def last_task_start(self, *, before: datetime) -> datetime | None:
        """When the last task began, of all DAGs; None when none ever did."""
        newest = {"order_by": "-start_date", "start_date_lte": before.isoformat()}
        found = await self._task_instances(httpx.QueryParams(newest))
        return _time(found[0]["start_date"]) if found else None

    async def _task_instances(self, query: httpx.QueryParams) -> list[Mapping[str, Any]]:
        params = query.set("limit", "1")
        response = await self._send("GET", f"/api/v2/dags/~/dagRuns/~/taskInstances?{params}")
        found: list[Mapping[str, Any]] = _document(response)["task_instances"]
        return found

    async def unhealthy(self) -> list[str]:
        """The components a run needs that do not report healthy."""
        answer = await self._request("GET", "/api/v2/monitor/health", json=None, token=None)
        body = _document(answer)
        needed = ("metadatabase", "scheduler", "dag_processor")
        return [name for name in needed if (body.get(name) or {}).get("status") != "healthy"]

    async def _send(
        self, method: str, path: str, *, json: Mapping[str, object] | None = None
    ) -> httpx.Response:
        token = await self._bearer()
        answer = await self._patiently(method, path, json=json, token=token)
        if answer.status_code == 401:
            token = await self._bearer(refused=token)
            answer = await self._patiently(method, path, json=json, token=token)
        if answer.status_code in {401, 403}:
            raise _no_answer(answer)
        return answer

    async def _patiently(
        self, method: str, path: str, *, json: Mapping[str, object] | None, token: str | None
    ) -> httpx.Response:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(OrchestratorUnavailableError),
            stop=stop_after_attempt(_MOST_TRIES) | stop_after_delay(_TRIES_BEGIN_WITHIN),
            wait=self._wait,
            reraise=True,
        )
        turn = self._changes if method != "GET" else nullcontext()
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                return await tries(self._in_turn, turn, method, path, json=json, token=token)
        except TimeoutError as error:
            raise OrchestratorUnavailableError("Airflow takes too long just now.") from error

    async def _in_turn(
        self,
        turn: AbstractAsyncContextManager[object],
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None,
        token: str | None,
    ) -> httpx.Response:
        async with turn:
            answer = await self._request(method, path, json=json, token=token)
        if answer.status_code >= 500:
            raise _no_answer(answer)
        return answer

    async def _request(
        self, method: str, path: str, *, json: Mapping[str, object] | None, token: str | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return await self._http.request(method, path, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise OrchestratorUnavailableError(
                "Airflow can't be reached for this just now.", told=type(error).__name__
            ) from error

    async def _bearer(self, *, refused: str | None = None) -> str:
        async with self._login:
            if self._token is None or self._token == refused:
                self._token = await self._new_token()
            return self._token

    async def _new_token(self) -> str:
        answer = await self._patiently("POST", "/auth/token", json=self._account, token=None)
        if answer.status_code not in {200, 201}:
            raise OrchestratorUnavailableError(
                "Airflow refuses our service account.", status=answer.status_code
            )
        return str(_document(answer)["access_token"])


def _no_answer(answer: httpx.Response) -> OrchestratorUnavailableError:
    return OrchestratorUnavailableError(
        "Airflow can't be reached for this just now.",
        status=answer.status_code,
        told=answer.text[:300],
    )


def _part(text: str) -> str:
    return quote(text, safe="")


def _run_path(dag_id: str, dag_run_id: str) -> str:
    return f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(dag_run_id)}"


def _unavailable(reason: str) -> PipelineUnavailableError:
    return PipelineUnavailableError("The pipeline can't be started just now.", reason=reason)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not answer.is_success or not isinstance(body, dict):
        raise OrchestratorUnavailableError(
            "Airflow gave an answer that we don't understand.",
            status=answer.status_code,
            told=answer.text[:300],
        )
    return body


def _run(body: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=body["dag_id"],
        dag_run_id=body["dag_run_id"],
        state=body["state"],
        started_at=_time(body.get("start_date")),
        ended_at=_time(body.get("end_date")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
