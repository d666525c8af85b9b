"""A customer's whole life on the running stack, with a second customer attacking all along."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import datetime

import pytest

from e2e.attacker import Attacker
from e2e.customers import range_body
from e2e.harness import RunningStack
from e2e.life import SEED, USAGE_COST, Life, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

EVERY_MINUTE = "* * * * *"
SCHEDULED_WITHIN_SECONDS = 150.0


@pytest.fixture
def victim(stack: RunningStack) -> Iterator[Life]:
    slug = f"victim_{secrets.token_hex(4)}"
    with Life((stack.api_url,), stack.secrets["root_api_key"], slug) as life:
        yield life


@pytest.fixture
def attacker(stack: RunningStack, victim: Life) -> Iterator[Attacker]:
    slug = f"attacker_{secrets.token_hex(4)}"
    with Life((stack.api_url,), stack.secrets["root_api_key"], slug) as other:
        other.bootstrap()
        other.onboard()
        with Attacker(stack.api_url, slug, other.key, victim.known) as attacker:
            yield attacker
        other.remove()


def test_a_customer_lives_undisturbed_beside_one_who_attacks(
    victim: Life, attacker: Attacker
) -> None:
    victim.onboard()
    victim.connect()
    victim.configure("openai-usage-cost", enabled=True, params={})
    victim.run(SEED)
    run = victim.run(USAGE_COST, range_body())
    assert run["rows_processed"] > 0
    victim.costs()

    # From here on a small pipeline is due every minute, in addition to everything else.
    victim.configure(
        "openai-seed-csv", enabled=True, schedule=EVERY_MINUTE, timezone="Europe/Berlin"
    )
    victim.reprice()
    victim.quota()
    victim.queue()
    victim.cancel()
    victim.rotate()
    wait_for(lambda: victim.scheduled_runs() or None, seconds=SCHEDULED_WITHIN_SECONDS)

    suspended = victim.suspend()
    wait_for(lambda: refused_when_due(victim, suspended), seconds=SCHEDULED_WITHIN_SECONDS)
    assert not [run for run in victim.scheduled_runs() if began(run) > suspended]
    victim.reactivate()
    victim.configure("openai-seed-csv", enabled=False)
    victim.disconnect()
    victim.remove()

    assert attacker.leaks == []
    assert attacker.breakdowns == []
    assert {401, 403, 404, 429} <= set(attacker.statuses)
    assert set(attacker.statuses) <= {400, 401, 403, 404, 409, 422, 429}


def refused_when_due(life: Life, since: datetime) -> bool | None:
    """Whether the schedule has come round since, and was refused."""
    query = {"status": "FAILED", "limit": "20"}
    refused = life.ask("GET", "/scheduler/queue", params=query)["entries"]
    due = [one for one in refused if datetime.fromisoformat(one["enqueued_at"]) > since]
    return any("subscription" in (one["reason"] or "").lower() for one in due) or None


def began(run: dict[str, str]) -> datetime:
    return datetime.fromisoformat(run["created_at"])
