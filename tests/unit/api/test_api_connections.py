"""How many requests to Airflow one request of ours has under way."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from support.api.env import ACME, USAGE_COST, ApiEnv

RUN = f"/pipelines/run/{ACME}/openai/cost/usage_cost"


@pytest.mark.parametrize("clients", [1, 8])
def test_a_trigger_has_one_request_to_airflow_under_way_at_most(
    app: FastAPI, env: ApiEnv, clients: int
) -> None:
    inner, counts = env.airflow.app, {"now": 0, "most": 0}

    async def counting(scope: Scope, receive: Receive, send: Send) -> None:
        counts["now"] += 1
        counts["most"] = max(counts["most"], counts["now"])
        await asyncio.sleep(0.005)
        await inner(scope, receive, send)
        counts["now"] -= 1

    env.airflow.app = counting  # type: ignore[assignment]  # an ASGI app all the same

    async def trigger_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        headers = env.headers["acme"]
        async with httpx.AsyncClient(
            transport=transport, base_url="http://api.test", headers=headers
        ) as client:
            calls = [client.post(RUN, json={"date": f"2025-11-{n + 1:02}"}) for n in range(clients)]
            return list(await asyncio.gather(*calls))

    answers = asyncio.run(trigger_all())
    assert {answer.status_code for answer in answers} == {202}
    assert len(env.airflow.triggered(USAGE_COST)) == clients
    assert 1 <= counts["most"] <= clients
