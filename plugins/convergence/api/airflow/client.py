"""Client of Airflow's public REST API: one pooled asynchronous client with the calls we need.

Paths, bodies and responses are those of Airflow 3.3 (`/auth/token`, `/api/v2`).
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
# Airflow's SQLite gives up on a lock after 5 s; a second try usually succeeds.
_MAX_TRIES = 4
_MAX_RETRY_SECONDS = 8.0
_MAX_CALL_SECONDS = 25.0


@dataclass(frozen=True)
class DagRun:
    """An Airflow run; `state` is queued, running, success or failed."""

    dag_id: str
    dag_run_id: str
    state: str
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.state in _ENDED


class AirflowClient:
    """Triggers and reads runs with the service account.

    We choose the ids of runs, so every call can be repeated. The client retries for some seconds
    while Airflow does not respond or responds 5xx, then raises `OrchestratorUnavailableError`. It
    raises that error at once when Airflow rejects the account.

    Args:
        base_url: address of Airflow's API server.
        username: of the service account.
        password: of the service account.
        max_changes: maximum number of concurrent changes; None is no limit.
        first_wait_seconds: maximum wait before the second try; it doubles with each further one.
        transport: replaces the network.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str,
        password: str,
        max_changes: int | None = None,
        first_wait_seconds: float = 0.2,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = {"username": username, "password": password}
        self._token: str | None = None
        self._login = asyncio.Lock()
        self._changes: AbstractAsyncContextManager[object] = (
            asyncio.Semaphore(max_changes) if max_changes else nullcontext()
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
        """Return a client for `AIRFLOW_API_URL`; it sends nothing yet."""
        password = settings.airflow_api_password
        return cls(
            settings.airflow_api_url or DEFAULT_URL,
            username=settings.airflow_api_username or "",
            password=password.get_secret_value() if password else "",
            max_changes=settings.airflow_api_most_changes,
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

    async def get_dag(self, dag_id: str) -> DagState:
        """Return the state of a DAG.

        Raises:
            PipelineUnavailableError: Airflow does not know the DAG.
        """
        response = await self._send("GET", f"/api/v2/dags/{_quote_part(dag_id)}")
        if response.status_code == 404:
            raise _build_unavailable_pipeline_error("unknown")
        body = _parse_document(response)
        return DagState(
            dag_id=dag_id,
            is_paused=bool(body["is_paused"]),
            is_stale=bool(body["is_stale"]),
            has_import_errors=bool(body["has_import_errors"]),
        )

    async def trigger_run(
        self, dag_id: str, *, dag_run_id: str, conf: Mapping[str, object]
    ) -> DagRun:
        """Start a run, or return the existing run of this id.

        Raises:
            PipelineUnavailableError: the DAG is unknown or stale.
            ConfigurationError: Airflow rejects the run: the DAG has import errors or other params.
        """
        body = {"dag_run_id": dag_run_id, "logical_date": None, "conf": dict(conf)}
        try:
            response = await self._send(
                "POST", f"/api/v2/dags/{_quote_part(dag_id)}/dagRuns", json=body
            )
        except OrchestratorUnavailableError:
            # Airflow may have accepted the run and the response was lost: look for the run first.
            found = await self.get_run(dag_id, dag_run_id)
            if found is None:
                raise
            return found
        if response.status_code == 409:
            found = await self.get_run(dag_id, dag_run_id)
            if found is not None:
                return found
            raise _build_unavailable_pipeline_error("conflict")
        if response.status_code == 404:
            raise _build_unavailable_pipeline_error("unknown")
        if response.status_code in {400, 422}:
            raise ConfigurationError(
                "The pipeline can't run as it is configured.", response=response.text[:500]
            )
        return _parse_run(_parse_document(response))

    async def get_run(self, dag_id: str, dag_run_id: str) -> DagRun | None:
        """Return the run, None when Airflow has no run of this id."""
        response = await self._send("GET", _build_run_path(dag_id, dag_run_id))
        return None if response.status_code == 404 else _parse_run(_parse_document(response))

    async def stop_run(self, dag_id: str, dag_run_id: str) -> None:
        """Set a run to failed, which ends its running tasks; do nothing when the run is gone."""
        response = await self._send(
            "PATCH", _build_run_path(dag_id, dag_run_id), json={"state": "failed"}
        )
        if response.status_code not in {404, 409}:
            _parse_document(response)

    async def get_task_result(self, dag_id: str, dag_run_id: str, task_id: str) -> object | None:
        """Return the parsed return value of an unmapped task, None when it returned nothing."""
        path = f"{_build_run_path(dag_id, dag_run_id)}/taskInstances/{_quote_part(task_id)}"
        response = await self._send("GET", f"{path}/xcomEntries/return_value")
        if response.status_code == 404:
            return None
        value: object = _parse_document(response).get("value")
        if not isinstance(value, str):
            return value
        try:
            parsed: object = json.loads(value)
        except ValueError:
            return value
        return parsed

    async def list_task_states(self, dag_id: str, dag_run_id: str) -> dict[str, str]:
        """Return the state of each unmapped task instance, by task id."""
        response = await self._send("GET", f"{_build_run_path(dag_id, dag_run_id)}/taskInstances")
        if response.status_code == 404:
            return {}
        found = _parse_document(response).get("task_instances", [])
        return {task["task_id"]: task["state"] for task in found if task["map_index"] == -1}

    async def has_waiting_task(self, *, of_runs_before: datetime) -> bool:
        """Return whether a task waits for a slot that belongs to a run begun before an instant."""
        states = [("state", "scheduled"), ("state", "queued")]
        query = httpx.QueryParams([*states, ("run_after_lte", of_runs_before.isoformat())])
        return bool(await self._find_task_instances(query))

    async def get_last_task_start(self, *, before: datetime) -> datetime | None:
        """Return when the last task of any DAG began, None when no task has begun yet."""
        newest = {"order_by": "-start_date", "start_date_lte": before.isoformat()}
        found = await self._find_task_instances(httpx.QueryParams(newest))
        return _parse_time(found[0]["start_date"]) if found else None

    async def _find_task_instances(self, query: httpx.QueryParams) -> list[Mapping[str, Any]]:
        params = query.set("limit", "1")
        response = await self._send("GET", f"/api/v2/dags/~/dagRuns/~/taskInstances?{params}")
        found: list[Mapping[str, Any]] = _parse_document(response)["task_instances"]
        return found

    async def list_unhealthy(self) -> list[str]:
        """Return the components that a run needs and that do not report healthy."""
        response = await self._request("GET", "/api/v2/monitor/health", json=None, token=None)
        body = _parse_document(response)
        needed = ("metadatabase", "scheduler", "dag_processor")
        return [name for name in needed if (body.get(name) or {}).get("status") != "healthy"]

    async def _send(
        self, method: str, path: str, *, json: Mapping[str, object] | None = None
    ) -> httpx.Response:
        token = await self._get_token()
        response = await self._send_with_retries(method, path, json=json, token=token)
        if response.status_code == 401:
            token = await self._get_token(rejected=token)
            response = await self._send_with_retries(method, path, json=json, token=token)
        if response.status_code in {401, 403}:
            raise _build_unavailable_error(response)
        return response

    async def _send_with_retries(
        self, method: str, path: str, *, json: Mapping[str, object] | None, token: str | None
    ) -> httpx.Response:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(OrchestratorUnavailableError),
            stop=stop_after_attempt(_MAX_TRIES) | stop_after_delay(_MAX_RETRY_SECONDS),
            wait=self._wait,
            reraise=True,
        )
        slot = self._changes if method != "GET" else nullcontext()
        try:
            async with asyncio.timeout(_MAX_CALL_SECONDS):
                return await tries(self._send_in_slot, slot, method, path, json=json, token=token)
        except TimeoutError as error:
            raise OrchestratorUnavailableError("Airflow does not respond in time.") from error

    async def _send_in_slot(
        self,
        slot: AbstractAsyncContextManager[object],
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None,
        token: str | None,
    ) -> httpx.Response:
        async with slot:
            response = await self._request(method, path, json=json, token=token)
        if response.status_code >= 500:
            raise _build_unavailable_error(response)
        return response

    async def _request(
        self, method: str, path: str, *, json: Mapping[str, object] | None, token: str | None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            return await self._http.request(method, path, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise OrchestratorUnavailableError(
                "Airflow can't be reached.", cause=type(error).__name__
            ) from error

    async def _get_token(self, *, rejected: str | None = None) -> str:
        async with self._login:
            if self._token is None or self._token == rejected:
                self._token = await self._request_token()
            return self._token

    async def _request_token(self) -> str:
        response = await self._send_with_retries(
            "POST", "/auth/token", json=self._account, token=None
        )
        if response.status_code not in {200, 201}:
            raise OrchestratorUnavailableError(
                "Airflow rejects our service account.", status=response.status_code
            )
        return str(_parse_document(response)["access_token"])


def _build_unavailable_error(response: httpx.Response) -> OrchestratorUnavailableError:
    return OrchestratorUnavailableError(
        "Airflow can't be reached.",
        status=response.status_code,
        response=response.text[:300],
    )


def _quote_part(text: str) -> str:
    return quote(text, safe="")


def _build_run_path(dag_id: str, dag_run_id: str) -> str:
    return f"/api/v2/dags/{_quote_part(dag_id)}/dagRuns/{_quote_part(dag_run_id)}"


def _build_unavailable_pipeline_error(reason: str) -> PipelineUnavailableError:
    return PipelineUnavailableError("The pipeline can't be started now.", reason=reason)


def _parse_document(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not response.is_success or not isinstance(body, dict):
        raise OrchestratorUnavailableError(
            "Airflow returned an unexpected response.",
            status=response.status_code,
            response=response.text[:300],
        )
    return body


def _parse_run(body: Mapping[str, Any]) -> DagRun:
    return DagRun(
        dag_id=body["dag_id"],
        dag_run_id=body["dag_run_id"],
        state=body["state"],
        started_at=_parse_time(body.get("start_date")),
        ended_at=_parse_time(body.get("end_date")),
    )


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
