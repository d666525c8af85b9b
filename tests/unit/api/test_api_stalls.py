"""No task begins: when it is noticed, when it is not, and that it is reported once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from starlette.responses import JSONResponse

from convergence.api.airflow import stalls
from convergence.api.airflow.stalls import CONFIRM_SECONDS, Stall, StallWatch
from convergence.api.platform import background_tasks
from convergence.processors.notify_systems.channels import Channel
from convergence.processors.notify_systems.messages import Message
from convergence.processors.notify_systems.notifier import Notifier
from convergence.settings import PROJECT_ROOT
from convergence.state.notifications import NotificationKey
from convergence.state.queueing import queue, queued_run
from support.api.env import ACME, SEED, ApiEnv, InMemoryServices

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
AFTER = timedelta(minutes=3)
LONG_AGO = NOW - AFTER - timedelta(seconds=1)


class Ticking:
    """A watch over the double, with a clock that the test moves."""

    def __init__(self, services: InMemoryServices) -> None:
        self.seconds = 0.0
        self.watch = StallWatch(
            services.airflow, after=AFTER, now=lambda: NOW, clock=lambda: self.seconds
        )

    def find_stall(self, *, after: float = 0.0) -> Stall | None:
        self.seconds += after
        return asyncio.run(self.watch.find_stall())


@pytest.fixture
def ticking(services: InMemoryServices) -> Ticking:
    return Ticking(services)


def test_tasks_that_wait_while_none_begins_are_a_stall(ticking: Ticking, env: ApiEnv) -> None:
    env.airflow.waits, env.airflow.last_start = True, LONG_AGO
    assert ticking.find_stall() is None
    assert ticking.find_stall(after=CONFIRM_SECONDS) == Stall(LONG_AGO)


def test_a_task_that_waits_for_a_moment_after_a_long_one_is_none(
    ticking: Ticking, env: ApiEnv
) -> None:
    env.airflow.waits, env.airflow.last_start = True, LONG_AGO
    assert ticking.find_stall() is None
    env.airflow.last_start = NOW
    assert ticking.find_stall(after=CONFIRM_SECONDS) is None
    env.airflow.last_start = LONG_AGO
    assert ticking.find_stall(after=CONFIRM_SECONDS) is None


@pytest.mark.parametrize(("waits", "last_start"), [(False, LONG_AGO), (True, NOW - AFTER / 2)])
def test_nothing_that_waits_or_a_task_that_began_is_none(
    ticking: Ticking, env: ApiEnv, *, waits: bool, last_start: datetime
) -> None:
    env.airflow.waits, env.airflow.last_start = waits, last_start
    for _ in range(3):
        assert ticking.find_stall(after=CONFIRM_SECONDS) is None


def test_a_stall_is_over_when_a_task_begins(ticking: Ticking, env: ApiEnv) -> None:
    env.airflow.waits, env.airflow.last_start = True, LONG_AGO
    ticking.find_stall()
    assert ticking.find_stall(after=CONFIRM_SECONDS) is not None
    env.airflow.last_start = NOW
    assert ticking.find_stall(after=CONFIRM_SECONDS) is None


def test_a_scheduler_that_stays_unhealthy_is_a_stall(
    ticking: Ticking, env: ApiEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = {"status": "healthy"}
    sick = {"metadatabase": healthy, "dag_processor": healthy, "scheduler": {"status": "sick"}}
    monkeypatch.setattr(env.airflow, "broken", lambda _request: JSONResponse(sick))
    assert ticking.find_stall() is None
    assert ticking.find_stall(after=AFTER.total_seconds() / 2) is None  # it may be restarting
    assert ticking.find_stall(after=AFTER.total_seconds()) == Stall(None, ("scheduler",))


def test_airflow_is_not_asked_at_every_check(ticking: Ticking, env: ApiEnv) -> None:
    for _ in range(5):
        ticking.find_stall()
    assert sum("taskInstances" in call for call in env.airflow.calls) == 1


def test_two_processes_see_one_incident(services: InMemoryServices, env: ApiEnv) -> None:
    env.airflow.waits, env.airflow.last_start = True, LONG_AGO
    found = []
    for offset in (0.0, 17.0):
        each = Ticking(services)
        each.find_stall(after=offset)
        found.append(each.find_stall(after=CONFIRM_SECONDS + offset))
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].incident == found[1].incident
    assert found[0].incident != Stall(NOW).incident
    assert len(found[0].incident) <= 64  # as the table of notifications holds it


@dataclass
class Post:
    """A way out that keeps what was sent."""

    sent: list[tuple[Message, tuple[str, ...]]] = field(default_factory=list)

    def connect(self, _name: str, _channel: Channel) -> Post:
        return self

    def send(
        self, message: Message, *, to: Sequence[str], key: NotificationKey, now: datetime
    ) -> int:
        self.sent.append((message, tuple(to)))
        return len(to)

    def close(self) -> None:
        pass


def test_the_platforms_recipients_hear_of_an_incident_once(services: InMemoryServices) -> None:
    post = Post()
    configs = PROJECT_ROOT / "include" / "configs"
    notifier = Notifier(services.store, configs, now=lambda: NOW, connect=post.connect)
    for _ in range(3):
        stalls.report_stall(Stall(LONG_AGO), notifier, seconds=180.0)
    [(message, to)] = post.sent
    assert to == ("slackwebhook_default",)  # the platform's addresses are empty as shipped
    assert "2026-11-29 11:56:59 UTC" in message.text
    assert "docs/operations.md" in message.text
    stalls.report_stall(Stall(NOW, ("scheduler",)), notifier, seconds=180.0)
    assert len(post.sent) == 2
    assert "unhealthy: scheduler" in post.sent[1][0].text


def test_the_page_that_the_message_names_exists() -> None:
    page = (PROJECT_ROOT / "docs" / "operations.md").read_text()
    assert "\n## No task begins\n" in page


def test_a_process_starts_what_waits_without_any_task(
    services: InMemoryServices, env: ApiEnv
) -> None:
    """The minute task does the same, but needs a slot and a worker."""
    entry = queued_run.QueuedRun(
        org_slug=ACME,
        pipeline_id="openai-seed-csv",
        dag_id=SEED,
        provider="openai",
        requested_by="key_1",
        trigger="api",
        enqueued_at=datetime.now(UTC),
    )
    with services.store.begin() as conn:
        queue.add_entry(conn, entry)

    async def dispatch() -> None:
        await background_tasks.dispatch_runs(services)

    asyncio.run(dispatch())
    assert len(env.airflow.triggered(SEED)) == 1
