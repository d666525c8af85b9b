"""A second customer that does everything forbidden while the first one works.

It comes from an address of its own, as an attacker would: what is limited per address is its own
matter.
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

ADDRESS = "127.0.0.2"
PAUSE_SECONDS = 0.15
_METHODS = ("get", "post", "put", "delete")


@dataclass(frozen=True)
class Attempt:
    """One request, and whose objects it is after."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any = None


@dataclass
class Attacker:
    """Sends attempts from a thread until it is stopped; remembers what they were answered.

    Attributes:
        url: where the API answers.
        slug: the attacker's own organization.
        key: its own key, which is good.
        victim: every id and name of the other customer that it has come by; grows as it lives.
        statuses: how often each status was answered.
        leaks: attempts that were answered anything of the victim's, or with success.
        breakdowns: attempts that were answered 5xx.
    """

    url: str
    slug: str
    key: str
    victim: Mapping[str, str]
    statuses: Counter[int] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)
    breakdowns: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="attacker")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        transport = httpx.HTTPTransport(local_address=ADDRESS)
        with httpx.Client(transport=transport, timeout=60.0, trust_env=False) as http:
            document = http.get(f"{self.url}/openapi.json").json()
            for attempt in self._attempts(document):
                if self._stop.wait(PAUSE_SECONDS):
                    return
                self._judge(attempt, self._send(http, attempt))

    def _send(self, http: httpx.Client, attempt: Attempt) -> httpx.Response:
        sent = {} if attempt.body is None else {"json": attempt.body}
        url = f"{self.url}{attempt.path}"
        return http.request(attempt.method, url, headers=dict(attempt.headers), **sent)

    def _judge(self, attempt: Attempt, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        told = f"{attempt.method} {attempt.path}: {answer.status_code} {answer.text[:300]}"
        if answer.status_code >= 500:
            self.breakdowns.append(told)
        if answer.is_success or any(secret in answer.text for secret in self._secrets()):
            self.leaks.append(told)

    def _secrets(self) -> list[str]:
        return [value for name, value in self.victim.items() if name != "idempotency_key"]

    def _attempts(self, document: Mapping[str, Any]) -> Iterator[Attempt]:
        """Every route with the victim's ids, again and again, each time with another key."""
        operations = [
            (method, path)
            for path, methods in document["paths"].items()
            for method in _METHODS
            if method in methods and "health" not in path
        ]
        for sweep in itertools.count():
            random.Random(sweep).shuffle(operations)
            for method, path in operations:
                yield from self._on(method, path)

    def _on(self, method: str, path: str) -> Iterator[Attempt]:
        body: dict[str, str] | None = None if method in {"get", "delete"} else {}
        own = {"X-API-Key": self.key}
        if "{org}" in path:
            yield Attempt(method, self._filled(path), own, body)
            yield Attempt(method, self._filled(path), self._guess(), body)
            replayed = {**own, "Idempotency-Key": self.victim.get("idempotency_key", "none")}
            yield Attempt(method, self._filled(path), replayed, body)
            if "{run_id}" in path:
                yield Attempt(method, self._filled(path, org=self.slug), own, body)
        elif path.startswith(("/organizations", "/admin")):
            yield Attempt(method, self._filled(path), own, body)
            yield Attempt(method, self._filled(path), {"X-CA-Root-Key": self.key}, body)

    def _filled(self, path: str, **changes: str) -> str:
        known = {
            "org": self.victim["org"],
            "provider": "openai",
            "domain": "cost",
            "pipeline": "usage_cost",
            "plan_name": "TEAM",
            "model_id": "gpt-5",
            "run_id": self.victim.get("run_id", "run_000000000000000000000000"),
            "key_id": self.victim.get("key_id", "key_0000000000000000"),
            "operation_id": f"onboard__{self.victim['org']}__20261121T000000__00000000",
            **changes,
        }
        query = (
            f"?confirmation={known['org']}&data=delete" if path == "/organizations/{org}" else ""
        )
        return path.format(**known) + query

    def _guess(self) -> dict[str, str]:
        """A key of the victim's as it could be, or one of the platform's."""
        if secrets.randbelow(4) == 0:
            return {"X-CA-Root-Key": secrets.token_urlsafe(36)}
        return {"X-API-Key": f"{self.victim['org']}_api_{secrets.token_hex(8)}"}
