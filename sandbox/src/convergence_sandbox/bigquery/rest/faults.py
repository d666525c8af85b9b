"""Faults on request: a response that is lost, a status that was never requested, a job that fails.

A rule is POSTed to `/_sandbox/faults`; it strikes as often as its `count` says and is gone. Rules
live in memory only: a server that was killed comes back healthy.

    {"action": …, "match": {…}, "count": 1, "status": 503, "reason": …, "message": …, "seconds": …}

    status            return `status` and `reason`, doing nothing
    delay             wait `seconds`, then serve
    drop_reply        do the work, then break the connection instead of answering
    kill              do the work, then kill the process instead of answering
    fail_job          the job ends with `reason`, doing nothing
    hold_job          the job runs after `seconds`
    kill_before_done  the job's work is committed, then the process is killed

The first four match by `method` and `path_regex` (searched in path and query), the others by `job`
(query, load, copy), `table_regex` (destination) and `query_regex`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, get_args

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.rest.jobs.job import Job
from convergence_sandbox.bigquery.rest.wire import Json, error_reply, reject_unknown

Action = Literal[
    "status", "drop_reply", "delay", "kill", "fail_job", "hold_job", "kill_before_done"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
JOB_ACTIONS = frozenset({"fail_job", "hold_job", "kill_before_done"})

_numbers = count(1)


@dataclass
class Fault:
    """One rule: what it strikes, what it does, how often."""

    action: Action
    method: str | None = None
    path_regex: re.Pattern[str] | None = None
    kind: str | None = None
    table_regex: re.Pattern[str] | None = None
    query_regex: re.Pattern[str] | None = None
    status: int = 503
    reason: str = "backendError"
    message: str = "An injected fault."
    seconds: float = 0.0
    left: int = 1
    number: int = field(default_factory=lambda: next(_numbers))

    @classmethod
    def parse(cls, body: Json) -> Fault:
        """Return a rule from the admin endpoint's JSON.

        Raises:
            BigQueryError: 400 for an unknown action or a broken pattern, 501 for unknown keys.
        """
        keys = ("match", "action", "count", "status", "reason", "message", "seconds")
        reject_unknown(body, keys, where="fault")
        action = body.get("action")
        if action not in ACTIONS:
            raise invalid(f"action must be one of {', '.join(ACTIONS)}, not {action!r}.")
        match = body.get("match") or {}
        reject_unknown(
            match, ("method", "path_regex", "job", "table_regex", "query_regex"), where="match"
        )
        return cls(
            action=action,
            method=match.get("method"),
            path_regex=_pattern(match.get("path_regex")),
            kind=match.get("job"),
            table_regex=_pattern(match.get("table_regex")),
            query_regex=_pattern(match.get("query_regex")),
            status=int(body.get("status", 503)),
            reason=str(body.get("reason", "backendError")),
            message=str(body.get("message", "An injected fault.")),
            seconds=float(body.get("seconds", 0)),
            left=int(body.get("count", 1)),
        )

    @property
    def error(self) -> BigQueryError:
        """Return what the rule makes the caller see."""
        return BigQueryError(self.message, status=self.status, reason=self.reason)

    def strikes_request(self, method: str, path: str) -> bool:
        """Return whether the rule is for this HTTP request."""
        return (
            self.action not in JOB_ACTIONS
            and self.method in {None, method}
            and (self.path_regex is None or bool(self.path_regex.search(path)))
        )

    def strikes_job(self, job: Job, *, table: str) -> bool:
        """Return whether the rule is for this job; `table` is its destination, or empty."""
        text = job.configuration.get("query", {}).get("query", "")
        return (
            self.action in JOB_ACTIONS
            and self.kind in {None, job.kind}
            and (self.table_regex is None or bool(self.table_regex.search(table)))
            and (self.query_regex is None or bool(self.query_regex.search(text)))
        )

    def describe(self) -> Json:
        """Return the rule as the admin endpoint lists it."""
        return {"id": self.number, "action": self.action, "left": self.left}


def _pattern(text: str | None) -> re.Pattern[str] | None:
    try:
        return None if text is None else re.compile(text)
    except re.error as exc:
        raise invalid(f"{text!r} is not a regular expression: {exc}") from exc


class Faults:
    """The rules in force; the first that matches strikes."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a rule in force, after those already there."""
        self._rules.append(fault)

    def clear(self) -> None:
        """Drop every rule."""
        self._rules.clear()

    def listing(self) -> list[Json]:
        """Return the rules still in force."""
        return [fault.describe() for fault in self._rules]

    def for_request(self, method: str, path: str) -> Fault | None:
        """Return the rule that strikes this request, used up by one."""
        return self._take(lambda fault: fault.strikes_request(method, path))

    def for_job(self, job: Job, *, table: str) -> Fault | None:
        """Return the rule that strikes this job, used up by one."""
        return self._take(lambda fault: fault.strikes_job(job, table=table))

    def _take(self, strikes: Callable[[Fault], bool]) -> Fault | None:
        for fault in list(self._rules):
            if strikes(fault):
                fault.left -= 1
                if fault.left <= 0 and fault in self._rules:
                    self._rules.remove(fault)
                return fault
        return None


class FaultMiddleware:
    """Lets the rules strike around the application."""

    def __init__(self, app: ASGIApp, *, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, unless a rule has it otherwise."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox"):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        path = f"{scope['path']}?{query}" if query else scope["path"]
        fault = self._faults.for_request(scope["method"], path)
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.action == "status":
            await error_reply(fault.error)(scope, receive, send)
        elif fault.action == "delay":
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)
        else:
            await self._serve_unheard(fault, scope, receive, send)

    async def _serve_unheard(
        self, fault: Fault, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Do the work and let no one hear of it. `send` is uvicorn's own, which has the line."""
        await self._app(scope, receive, _unheard)
        if fault.action == "kill":
            kill_this_process()
        transport: asyncio.WriteTransport = send.__self__.transport  # type: ignore[attr-defined]
        transport.abort()
        await asyncio.sleep(0.01)  # the server must see the connection lost before this returns


def kill_this_process() -> None:
    """Die as from a power cut: no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


async def _unheard(_message: Message) -> None:
    return
