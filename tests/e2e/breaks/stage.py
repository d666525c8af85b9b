"""Two customers on a Celery stack: one's run is broken, the other's starts meanwhile."""

from __future__ import annotations

import collections
import secrets
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx

from e2e import oracle
from e2e.breaks.strikes import DAG, Break
from e2e.customers import YESTERDAY, Customer, onboard, range_body
from e2e.harness import RunningStack

PIPELINE = DAG.replace(".", "/")
FIRST_STEP = "extract_usage"
DAYS_PER_BREAK = 2
POLL_SECONDS = 0.8  # a key may send 100 requests a minute
ACCEPTED_WITHIN = 120.0
ENDS_WITHIN = 300.0
CALM_WITHIN = 180.0
_ENDED = ("SUCCESS", "FAILED", "CANCELLED")
# The first page comes slowly, for about 15 s, so that the run is surely under way.
_DRIP = {"kind": "drip", "count": 1, "options": {"rate": 15_000}}


@dataclass
class Outcome:
    """What one break did; seconds count from the break.

    Attributes:
        run_seconds: until the broken run ended.
        start_seconds: until the other customer's run, triggered just after the break, began.
        other_seconds: until that ended.
        equal: whether both customers' figures are those of the independent calculation.
        said: why a run did not succeed.
    """

    name: str
    moment: str
    run_seconds: float
    start_seconds: float
    other_seconds: float
    status: str
    other_status: str
    equal: bool
    said: str = ""


@dataclass
class Followed:
    """A run of one customer."""

    customer: Customer
    run_id: str
    began: float | None = None
    ended: float | None = None
    seen: dict[str, Any] = field(default_factory=dict)


class Stage:
    """The stack, its two customers, and a client that turns to the API server that answers."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        tag = secrets.token_hex(3)
        self.victim, self.other = Customer(f"victim_{tag}"), Customer(f"other_{tag}")
        self._http = httpx.Client(timeout=20.0, trust_env=False)
        self._used = 0

    def prepare(self) -> None:
        """Create the warehouse and the two customers."""
        with self.stack.root() as root:
            root.post("/admin/bootstrap", {})
        for customer in (self.victim, self.other):
            onboard(self.stack, customer)

    def close(self) -> None:
        """Close the client."""
        self._http.close()

    def perform(self, one: Break) -> Outcome:
        """Break the stack during a run and follow what happens.

        Raises:
            AssertionError: a run did not begin or end within the limits.
        """
        self._wait_until_calm()
        days = self._next_days()
        broken: list[Followed] = []

        def start() -> None:
            broken.append(self._trigger(self.victim, days))

        if one.moment != "before the run":
            self._faults("POST", {**_DRIP, "key": self.victim.slug})
            start()
            self._wait_for_moment(broken[0], one)
        struck = time.monotonic()
        one.strike(self.stack, start)
        followed = [broken[0], self._trigger(self.other, days)]
        self._follow(followed)
        self._faults("DELETE")
        run, other = followed
        assert run.ended is not None
        assert other.began is not None
        assert other.ended is not None
        return Outcome(
            name=one.name,
            moment=one.moment,
            run_seconds=run.ended - struck,
            start_seconds=other.began - struck,
            other_seconds=other.ended - struck,
            status=run.seen["status"],
            other_status=other.seen["status"],
            equal=all(self._is_equal(each.customer, days) for each in followed),
            said="; ".join(_said(each.seen) for each in followed if _said(each.seen)),
        )

    def start(self) -> Followed:
        """Start a run of the first customer, of days that no run has done."""
        return self._trigger(self.victim, self._next_days())

    def follow(self, *runs: Followed) -> None:
        """Follow runs to their end."""
        self._follow(list(runs))

    def _next_days(self) -> tuple[date, date]:
        """Days that no run of this stage has done."""
        last = YESTERDAY - timedelta(days=DAYS_PER_BREAK * self._used)
        self._used += 1
        return last - timedelta(days=DAYS_PER_BREAK - 1), last

    def _trigger(self, customer: Customer, days: tuple[date, date]) -> Followed:
        headers = {"X-API-Key": customer.key, "Idempotency-Key": secrets.token_hex(8)}
        path = f"/pipelines/run/{customer.slug}/{PIPELINE}"
        accepted = self._ask("POST", path, headers=headers, json=range_body(*days))
        return Followed(customer, accepted["run_id"])

    def _wait_for_moment(self, run: Followed, one: Break) -> None:
        deadline = time.monotonic() + ACCEPTED_WITHIN
        expected = "RUNNING" if one.moment == "mid-run" else "SUCCESS"
        while True:
            self._look(run)
            steps = {step["step"]: step["status"] for step in run.seen.get("steps", [])}
            if steps.get(FIRST_STEP) == expected:
                return
            assert run.ended is None, f"{one.name}: the run ended before the break: {run.seen}"
            assert time.monotonic() < deadline, f"{one.name}: {FIRST_STEP} did not begin"
            time.sleep(POLL_SECONDS)

    def _follow(self, runs: list[Followed]) -> None:
        deadline = time.monotonic() + ENDS_WITHIN
        while any(run.ended is None for run in runs):
            for run in runs:
                if run.ended is None:
                    self._look(run)
            assert time.monotonic() < deadline, [run.seen for run in runs]
            time.sleep(POLL_SECONDS)

    def _look(self, run: Followed) -> None:
        path = f"/pipelines/runs/{run.customer.slug}/{run.run_id}"
        run.seen = self._ask("GET", path, headers={"X-API-Key": run.customer.key})
        now = time.monotonic()
        if run.began is None and run.seen["status"] not in ("PENDING", "QUEUED"):
            run.began = now
        if run.seen["status"] in _ENDED:
            run.ended = now

    def _ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        """Send a request to each API server in turn until one answers."""
        deadline = time.monotonic() + ACCEPTED_WITHIN
        last = ""
        while time.monotonic() < deadline:
            for url in self.stack.api_urls:
                try:
                    response = self._http.request(method, f"{url}{path}", **sent)
                except httpx.HTTPError as error:
                    last = repr(error)
                    continue
                if response.is_success:
                    document: dict[str, Any] = response.json()
                    return document
                last = f"{response.status_code} {response.text[:300]}"
                assert response.status_code in (409, 429) or response.status_code >= 500, last
            time.sleep(0.3)
        raise AssertionError(f"{method} {path} was not served: {last}")

    def _faults(self, method: str, body: dict[str, Any] | None = None) -> None:
        url = f"{self.stack.providers_url}/_sandbox/faults"
        self._http.request(method, url, json=body).raise_for_status()

    def _is_equal(self, customer: Customer, days: tuple[date, date]) -> bool:
        expected: dict[tuple[str, str], Decimal] = collections.defaultdict(Decimal)
        base = f"{self.stack.providers_url}/openai/v1"
        for row in oracle.fetch_usage(base, customer.openai_key, *days):
            expected[row["day"].isoformat(), row["model"]] += oracle.price(row)
        query = {**range_body(*days), "group_by": "day,model"}
        path = f"/costs/{customer.slug}"
        costs = self._ask("GET", path, headers={"X-API-Key": customer.key}, params=query)
        priced = {
            (row["day"], row["model"]): Decimal(row["cost"])
            for row in costs["rows"]
            if row["cost"] is not None
        }
        return bool(priced) and priced == expected

    def _wait_until_calm(self) -> None:
        """Wait until Airflow and both API servers report ready, and a worker answers."""
        deadline = time.monotonic() + CALM_WITHIN
        while not all(self._is_ready(url) for url in self.stack.api_urls):
            assert time.monotonic() < deadline, "the stack did not become ready again"
            time.sleep(1.0)

    def _is_ready(self, url: str) -> bool:
        try:
            return self._http.get(f"{url}/health/ready").status_code == 200
        except httpx.HTTPError:
            return False


def _said(run: dict[str, Any]) -> str:
    error = run.get("error") or {}
    return f"{error.get('code')}: {error.get('message')}" if error else ""
