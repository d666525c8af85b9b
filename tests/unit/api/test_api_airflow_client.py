"""The Airflow client: tokens, deadlines, and what each answer of Airflow becomes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from convergence.api.airflow.client import AirflowClient
from convergence.errors import (
    ConfigurationError,
    OrchestratorUnavailableError,
    PipelineUnavailableError,
)
from support.api.airflow_double import PASSWORD, USERNAME, AirflowDouble

DAG = "openai.cost.usage_cost"


@asynccontextmanager
async def connected(
    double: AirflowDouble, *, password: str = PASSWORD
) -> AsyncIterator[AirflowClient]:
    async with AirflowClient(
        "http://airflow.test/",
        username=USERNAME,
        password=password,
        first_wait_seconds=0.0,
        transport=httpx.ASGITransport(double.app),
    ) as client:
        yield client


def answering(handler: Callable[[httpx.Request], httpx.Response]) -> AirflowClient:
    transport = httpx.MockTransport(handler)
    return AirflowClient(
        "http://a.test", username="u", password="p", first_wait_seconds=0.0, transport=transport
    )


@pytest.fixture
def double() -> AirflowDouble:
    double = AirflowDouble()
    double.add_dag(DAG)
    return double


def test_many_calls_at_once_log_in_once(double: AirflowDouble) -> None:
    double.latency = 0.02

    async def run() -> None:
        async with connected(double) as client:
            await asyncio.gather(*(client.get_dag(DAG) for _ in range(10)))
            double.expire_token()
            await asyncio.gather(*(client.get_dag(DAG) for _ in range(10)))

    asyncio.run(run())
    assert double.calls.count("POST /auth/token") == 2


def test_a_repeated_run_id_finds_the_run(double: AirflowDouble) -> None:
    async def run() -> None:
        async with connected(double) as client:
            first = await client.trigger_run(DAG, dag_run_id="api__1", conf={"org_run_id": "r"})
            again = await client.trigger_run(DAG, dag_run_id="api__1", conf={"org_run_id": "r"})
            assert first == again

    asyncio.run(run())
    assert len(double.runs) == 1


def fails(*times: int) -> Callable[[Any], Response | None]:
    """The requests of these numbers, logins not counted, meet a locked database."""
    numbers = itertools.count(1)
    locked = JSONResponse({"detail": "database is locked"}, status_code=500)
    return lambda _request: locked if next(numbers) in times else None


def test_a_trigger_that_airflow_fails_is_asked_for_again_under_the_same_id(
    double: AirflowDouble,
) -> None:
    double.broken = fails(1, 2)

    async def run() -> None:
        async with connected(double) as client:
            made = await client.trigger_run(DAG, dag_run_id="api__1", conf={})
            assert made.dag_run_id == "api__1"

    asyncio.run(run())
    assert [call.partition(" ")[0] for call in double.calls] == ["POST"] * 4
    assert list(double.runs) == [(DAG, "api__1")]


def test_asking_again_has_an_end(double: AirflowDouble) -> None:
    double.broken = fails(*range(1, 100))

    async def run() -> None:
        async with connected(double) as client:
            with pytest.raises(OrchestratorUnavailableError):
                await client.get_dag(DAG)

    asyncio.run(run())
    assert len(double.calls) == 5


@pytest.mark.parametrize(("most", "seen"), [(1, 1), (2, 2), (None, 5)])
def test_changes_wait_for_their_turn_and_reading_does_not(
    double: AirflowDouble, most: int | None, seen: int
) -> None:
    class Crowd:
        """Counts the triggers that Airflow works at together."""

        now = largest = 0

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            change = scope["method"] == "POST" and scope["path"] != "/auth/token"
            Crowd.now += change
            Crowd.largest = max(Crowd.largest, Crowd.now)
            await asyncio.sleep(0.02)
            try:
                await double.app(scope, receive, send)
            finally:
                Crowd.now -= change

    async def run() -> None:
        async with AirflowClient(
            "http://airflow.test/",
            username=USERNAME,
            password=PASSWORD,
            max_changes=most,
            transport=httpx.ASGITransport(Crowd()),
        ) as client:
            triggers = [client.trigger_run(DAG, dag_run_id=f"api__{n}", conf={}) for n in range(5)]
            reading = asyncio.create_task(client.get_dag(DAG))
            triggering = asyncio.gather(*triggers)
            await reading
            assert not triggering.done() or most is None
            await triggering

    asyncio.run(run())
    assert (Crowd.largest, len(double.runs)) == (seen, 5)


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"is_stale": True}, PipelineUnavailableError),
     ({"has_import_errors": True}, ConfigurationError)],
)  # fmt: skip
def test_refused_triggers(
    double: AirflowDouble, changes: dict[str, bool], error: type[Exception]
) -> None:
    double.add_dag(DAG, **changes)

    async def run() -> None:
        async with connected(double) as client:
            with pytest.raises(error):
                await client.trigger_run(DAG, dag_run_id="api__1", conf={})

    asyncio.run(run())


def test_a_refused_account_is_unavailable_and_tells_no_password(double: AirflowDouble) -> None:
    async def run() -> str:
        async with connected(double, password="wrong-password") as client:
            with pytest.raises(OrchestratorUnavailableError) as caught:
                await client.get_dag(DAG)
            return str(caught.value)

    assert "wrong-password" not in asyncio.run(run())


def hang(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("slow")


def html(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/auth/token":
        return httpx.Response(201, json={"access_token": "t"})
    return httpx.Response(200, text="<html>")


def redirect(request: httpx.Request) -> httpx.Response:
    if request.url.path == "/auth/token":
        return httpx.Response(201, json={"access_token": "t"})
    assert request.url.host == "a.test"
    return httpx.Response(302, headers={"Location": "http://elsewhere.test/"})


def listing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=[])


@pytest.mark.parametrize("handler", [hang, html, redirect, listing])
def test_whatever_is_no_answer_of_airflow_is_unavailable(
    handler: Callable[[httpx.Request], httpx.Response],
) -> None:
    async def run() -> None:
        async with answering(handler) as client:
            with pytest.raises(OrchestratorUnavailableError):
                await client.get_run(DAG, "x")

    asyncio.run(run())


def test_ids_can_not_leave_their_place_in_the_path() -> None:
    seen: list[str] = []

    def record(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path.decode())
        return httpx.Response(404, json={})

    async def run() -> Any:
        async with answering(html) as client:
            client._token = "t"
            client._http = httpx.AsyncClient(
                base_url="http://a.test", transport=httpx.MockTransport(record)
            )
            return await client.get_run(DAG, "../../dags?x=1#y")

    assert asyncio.run(run()) is None
    assert seen == [f"/api/v2/dags/{DAG}/dagRuns/..%2F..%2Fdags%3Fx%3D1%23y"]
