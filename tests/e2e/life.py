"""A customer's whole life over HTTP, step by step; each step checks what it was answered."""

from __future__ import annotations

import csv
import io
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, Self

import httpx

from e2e.customers import YESTERDAY, range_body

USAGE_COST = "openai/cost/usage_cost"
SEED = "openai/seed_csv"
ENDED = ("SUCCESS", "FAILED", "CANCELLED")
RUN_SECONDS = 240.0
DIES_WITHIN_SECONDS = 60.0

Document = dict[str, Any]


@dataclass
class Life:
    """One customer, what it holds, and the two ways in: the platform's key and its own.

    Attributes:
        urls: where the API answers; requests go to each in turn.
        root_key: the platform's.
        slug: the organization's.
        known: every id and name of the customer's that an attacker could have come by.
    """

    urls: tuple[str, ...]
    root_key: str
    slug: str
    key: str = ""
    known: dict[str, str] = field(default_factory=dict)
    _asked: int = 0

    def __post_init__(self) -> None:
        self._http = httpx.Client(timeout=180.0, trust_env=False)
        self.known |= {"org": self.slug, "company": f"{self.slug.title()} Beteiligungs GmbH"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    # --- asking ------------------------------------------------------------------------------

    def ask(self, method: str, path: str, *, status: int = 200, **sent: Any) -> Document:
        """A request with the customer's key; its answer, which must have this status."""
        document: Document = self._answer(
            method, path, {"X-API-Key": self.key}, status, sent
        ).json()
        return document

    def platform(self, method: str, path: str, *, status: int = 200, **sent: Any) -> Document:
        """The same with the root key."""
        key = {"X-CA-Root-Key": self.root_key}
        document: Document = self._answer(method, path, key, status, sent).json()
        return document

    def operate(self, path: str, body: Mapping[str, Any]) -> Document:
        """A call that is a platform pipeline; where it takes long, it is followed to its end."""
        key = {"X-CA-Root-Key": self.root_key}
        answer = self._http.post(f"{self._url()}{path}", headers=key, json=dict(body))
        assert answer.status_code in {200, 202}, f"{path}: {answer.status_code} {answer.text}"
        told: Document = answer.json()
        if answer.status_code == 202:
            where = f"/admin/operations/{told['operation_id']}"
            told = wait_for(
                lambda: ended(self.platform("GET", where)), seconds=RUN_SECONDS, every=2.0
            )
        assert told["status"] == "SUCCESS", told
        return told

    def status_with(self, key: str) -> int:
        """What a key opens of this organization."""
        url = f"{self._url()}/quota/{self.slug}"
        return self._http.get(url, headers={"X-API-Key": key}).status_code

    def _answer(
        self, method: str, path: str, key: Mapping[str, str], status: int, sent: dict[str, Any]
    ) -> httpx.Response:
        headers = {**key, **sent.pop("headers", {})}
        answer = self._http.request(method, f"{self._url()}{path}", headers=headers, **sent)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def _url(self) -> str:
        self._asked += 1
        return self.urls[self._asked % len(self.urls)]

    # --- its life ----------------------------------------------------------------------------

    def bootstrap(self) -> None:
        self.operate("/admin/bootstrap", {})

    def onboard(self) -> None:
        body = {
            "org_slug": self.slug,
            "company_name": self.known["company"],
            "admin_email": f"cfo@{self.slug.replace('_', '-')}.example",
            "subscription_plan": "SCALE",
        }
        ready = self.operate("/organizations/dryrun", body)
        assert ready["ready_for_onboarding"] is True
        told = self.operate("/organizations/onboard", body)
        if "api_key" not in told:  # it took long: the first key is asked for
            told = self.platform("POST", f"/organizations/{self.slug}/api-keys")
        self.key, fingerprint = told["api_key"], told["api_key_fingerprint"]
        assert fingerprint["last_four"] == self.key[-4:]
        self.known |= {"key_id": fingerprint["key_id"], "email": body["admin_email"]}
        listed = self.platform("GET", f"/organizations/{self.slug}")
        assert listed["subscription"]["status"] == "ACTIVE"

    def connect(self) -> None:
        body = {"credential": f"sk-admin-sandbox-{self.slug}", "credential_name": "Finance"}
        path = f"/integrations/{self.slug}/openai"
        made = self.ask("POST", f"{path}/setup", json=body)
        assert made["validation_status"] == "VALID"
        self.known["credential_id"] = made["credential_id"]
        [one] = self.ask("GET", f"/integrations/{self.slug}")["integrations"]
        assert one == self.ask("GET", path)
        assert body["credential"] not in str(one)

    def configure(self, pipeline_id: str, **wanted: Any) -> None:
        path = f"/pipelines/config/{self.slug}/{pipeline_id}"
        told = self.ask("PUT", path, json=wanted)
        assert {name: told[name] for name in wanted} == wanted
        assert self.ask("GET", path) == told
        assert bool(told["next_due_at"]) is bool(wanted.get("schedule"))

    def trigger(
        self, pipeline: str = USAGE_COST, body: Mapping[str, str] | None = None
    ) -> Document:
        """Start a run that is no repetition of another; its acceptance."""
        headers = {"Idempotency-Key": secrets.token_hex(8)}
        path = f"/pipelines/run/{self.slug}/{pipeline}"
        sent = {"json": dict(body or {}), "headers": headers}
        accepted = self.ask("POST", path, status=202, **sent)
        assert self.ask("POST", path, status=202, **sent) == accepted  # replayed
        self.known |= {"run_id": accepted["run_id"], "idempotency_key": headers["Idempotency-Key"]}
        return accepted

    def watch(self, run_id: str, *, expected: str = "SUCCESS") -> Document:
        """Follow a run to its end."""
        path = f"/pipelines/runs/{self.slug}/{run_id}"
        run: Document = wait_for(
            lambda: ended(self.ask("GET", path)), seconds=RUN_SECONDS, every=2.0
        )
        assert run["status"] == expected, run
        return run

    def run(self, pipeline: str = USAGE_COST, body: Mapping[str, str] | None = None) -> Document:
        return self.watch(self.trigger(pipeline, body)["run_id"])

    def costs(self, **query: str) -> Document:
        """Cost of the three days; the CSV says the same as the JSON."""
        asked = {**range_body(), "group_by": "day,model", **query}
        path = f"/costs/{self.slug}"
        told = self.ask("GET", path, params=asked)
        key = {"X-API-Key": self.key}
        text = self._answer("GET", path, key, 200, {"params": {**asked, "format": "csv"}}).text
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(told["rows"]) > 0
        assert {row["currency"] for row in told["rows"]} == {"USD"}
        return told

    def reprice(self) -> None:
        """An own rate of nothing for the dearest model: its cost goes, the others' stays."""
        before = by_model(self.costs())
        model = max(before, key=lambda name: before[name])
        assert before[model] > 0
        rate = {"effective_from": "2020-01-01", "input_per_million": "0", "output_per_million": "0"}
        prices = f"/integrations/{self.slug}/openai/pricing"
        put = self.ask("PUT", f"{prices}/{model}", json=rate)
        assert [row["is_override"] for row in put["prices"]].count(True) == 1
        self.run(USAGE_COST, range_body())
        after = by_model(self.costs())
        assert after[model] < before[model]
        assert {**after, model: 0} == {**before, model: 0}
        assert self.ask("POST", f"{prices}/reset")["ended"] == 1

    def quota(self) -> None:
        told = self.ask("GET", f"/quota/{self.slug}")
        assert told["runs_per_day"]["used"] >= 2
        assert told["providers"]["used"] == 1

    def queue(self) -> Document:
        """Queue a run; it starts at once, for there is room."""
        asked = {"pipeline": SEED, "priority": 1}
        entry = self.ask("POST", "/scheduler/trigger", status=202, json=asked)
        listed = self.ask("GET", "/scheduler/queue")["entries"]
        assert entry["queue_id"] in [one["queue_id"] for one in listed]
        self.ask("POST", "/scheduler/queue/process")
        return entry

    def scheduled_runs(self) -> list[Document]:
        """The runs that began by the customer's own schedule, newest first."""
        query = {"pipeline_id": "openai-seed-csv"}
        page = self.ask("GET", f"/pipelines/runs/{self.slug}", params=query)
        return [run for run in page["runs"] if run["trigger"] == "schedule"]

    def cancel(self) -> None:
        run_id = self.trigger(USAGE_COST, {"date": YESTERDAY.isoformat()})["run_id"]
        path = f"/pipelines/runs/{self.slug}/{run_id}"
        assert self.ask("POST", f"{path}/cancel")["status"] == "CANCELLED"
        self.ask("POST", f"{path}/cancel", status=409)
        assert self.ask("GET", path)["status"] == "CANCELLED"

    def rotate(self) -> None:
        """A new key for the old one, which dies in every process within a minute."""
        old, path = self.key, f"/organizations/{self.slug}/api-keys"
        told = self.platform("POST", f"{path}/rotate", json={"overlap_seconds": 3600})
        self.key = told["api_key"]
        assert self.status_with(old) == self.status_with(self.key) == 200
        revoked = self.platform("DELETE", f"{path}/{told['replaced_key_id']}")
        assert revoked["status"] == "REVOKED"
        self.dies(old)
        assert self.status_with(self.key) == 200
        self.known["key_id"] = told["api_key_fingerprint"]["key_id"]

    def dies(self, key: str) -> None:
        """Wait until no address takes the key."""
        times = 2 * len(self.urls)
        wait_for(
            lambda: all(self.status_with(key) == 401 for _ in range(times)) or None,
            seconds=DIES_WITHIN_SECONDS,
        )

    def suspend(self) -> datetime:
        """Suspend it; nothing of it starts after the returned instant."""
        path = f"/organizations/{self.slug}/subscription"
        told = self.platform("PUT", path, json={"billing_status": "past_due"})
        assert told["status"] == "SUSPENDED"
        for server in self.urls:
            wait_for(partial(self._is_refused, server), seconds=DIES_WITHIN_SECONDS)
        self.ask("POST", "/scheduler/trigger", status=403, json={"pipeline": SEED})
        return datetime.now(UTC)

    def _is_refused(self, server: str, pipeline: str = SEED, *, status: int = 403) -> str | None:
        """Why the server refuses a run, once it does."""
        url = f"{server}/pipelines/run/{self.slug}/{pipeline}"
        # Each time a request of its own: an equal one within the minute has the first's answer.
        headers = {"X-API-Key": self.key, "Idempotency-Key": secrets.token_hex(8)}
        answer = self._http.post(url, headers=headers, json={})
        assert answer.status_code in {202, 429, status}, answer.text
        return str(answer.json()["code"]) if answer.status_code == status else None

    def reactivate(self) -> None:
        path = f"/organizations/{self.slug}/subscription"
        told = self.platform("PUT", path, json={"billing_status": "active"})
        assert told["status"] == "ACTIVE"
        # Asked within a minute, each server answers with the same run.
        runs = {
            wait_for(partial(self._accepted, server), seconds=DIES_WITHIN_SECONDS)["run_id"]
            for server in self.urls
        }
        (run_id,) = runs
        self.ask("POST", f"/pipelines/runs/{self.slug}/{run_id}/cancel")

    def _accepted(self, server: str) -> Document | None:
        """A run, once the server that is asked has heard of the reactivation."""
        url = f"{server}/pipelines/run/{self.slug}/{USAGE_COST}"
        body = {"date": YESTERDAY.isoformat()}
        answer = self._http.post(url, headers={"X-API-Key": self.key}, json=body)
        assert answer.status_code in {202, 403}, answer.text
        told: Document = answer.json()
        return told if answer.status_code == 202 else None

    def disconnect(self) -> None:
        gone = self.ask("DELETE", f"/integrations/{self.slug}/openai")
        assert gone["status"] == "DELETED"
        for server in self.urls:
            refused = partial(self._is_refused, server, USAGE_COST, status=409)
            assert wait_for(refused, seconds=DIES_WITHIN_SECONDS) == "integration_invalid"

    def remove(self) -> None:
        path = f"/organizations/{self.slug}"
        wrong = {"confirmation": "another_org", "data": "delete"}
        self.platform("DELETE", path, status=422, params=wrong)
        right = {"confirmation": self.slug, "data": "delete"}
        assert self.platform("DELETE", path, params=right)["status"] == "DELETED"
        self.dies(self.key)
        assert self.platform("GET", path)["status"] == "DELETED"


def ended(run: Document) -> Document | None:
    return run if run["status"] in ENDED else None


def by_model(told: Document) -> dict[str, Decimal]:
    """Cost per model over all days; an amount is decimal text."""
    found: dict[str, Decimal] = {}
    for row in told["rows"]:
        cost = Decimal(row["cost"] or 0)
        found[row["model"]] = found.get(row["model"], Decimal(0)) + cost
    return found


def wait_for(look: Callable[[], Any], *, seconds: float, every: float = 1.0) -> Any:
    """What `look` finds, once it is not None."""
    give_up = time.monotonic() + seconds
    while (found := look()) is None:
        assert time.monotonic() < give_up, f"waited {seconds:.0f} s in vain"
        time.sleep(every)
    return found
