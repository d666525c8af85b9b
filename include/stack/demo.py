"""The demo: two organizations from nothing to their daily cost, through the HTTP API alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from stack.client import ApiClient, ApiRefusalError
from stack.errors import StackError
from stack.report import DemoReport, OrgReport, render
from stack.secrets import write_private
from stack.stack import Stack

Say = Callable[[str], None]
RUN_SECONDS = 180
DAYS = 3


@dataclass(frozen=True)
class DemoOrg:
    """One organization of the demo; its OpenAI key is one that the sandbox knows."""

    slug: str
    company: str
    email: str
    plan: str

    @property
    def openai_key(self) -> str:
        """An admin key that the sandbox's OpenAI accepts; it decides the org's usage."""
        return f"sk-admin-sandbox-{self.slug}"


ORGS = (
    DemoOrg("acme_corp", "Acme Corporation", "cfo@acme.example", "PROFESSIONAL"),
    DemoOrg("globex_inc", "Globex Incorporated", "finance@globex.example", "STARTER"),
)


def run_demo(stack: Stack, *, say: Say) -> int:
    """Start the stack, drive it, write `var/demo/report.json`, stop the stack.

    Returns:
        0; every failure is a `StackError` that names the step.
    """
    began, settings = time.monotonic(), stack.settings
    with _step("start the stack", log=settings.log_dir / "api-server.log"):
        stack.__enter__()
    try:
        report = _drive(stack, say=say)
    finally:
        say("stopping everything")
        stack.stop()
    path = settings.var_dir / "demo" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    print(render(report))
    say(f"done in {time.monotonic() - began:.0f} s; the same as JSON: {path}")
    return 0


def _drive(stack: Stack, *, say: Say) -> DemoReport:
    settings, log = stack.settings, stack.settings.log_dir / "api-server.log"
    first, last = demo_range(datetime.now(UTC))
    report = DemoReport(first_day=first, last_day=last, airflow_url=settings.base_url)
    root_header = {"X-CA-Root-Key": stack.secrets.root_api_key}
    with ApiClient(settings.api_url, headers=root_header) as root:
        with _step("bootstrap", log=log):
            made = root.post("/admin/bootstrap", {"force_recreate_dataset": False})
            say(f"bootstrap: {len(made['tables_created'])} tables created")
        for org, api_url in zip(ORGS, cycle(settings.api_urls), strict=False):
            with _step(f"onboard {org.slug}", log=log):
                key = _org_key(root, org, path=settings.var_dir / "secrets" / "demo_keys.json")
                say(f"onboarded {org.slug}")
            with ApiClient(api_url, headers={"X-API-Key": key}) as client:
                with _step(f"connect OpenAI for {org.slug}", log=log):
                    _connect(client, org)
                    say(f"connected OpenAI for {org.slug}")
                with _step(f"load prices for {org.slug}", log=log):
                    _run(client, f"/pipelines/run/{org.slug}/openai/seed_csv", {}, org, say=say)
                with _step(f"run openai/cost/usage_cost for {org.slug}", log=log):
                    body = {"start_date": first.isoformat(), "end_date": last.isoformat()}
                    path = f"/pipelines/run/{org.slug}/openai/cost/usage_cost"
                    run = _run(client, path, body, org, say=say)
                with _step(f"read costs of {org.slug}", log=log):
                    costs = client.get(f"/costs/{org.slug}", group_by="day,model", **body)
            report.orgs.append(OrgReport(slug=org.slug, run=run, costs=costs))
    return report


def demo_range(now: datetime) -> tuple[date, date]:
    """The last three complete UTC days, both ends included."""
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    return yesterday - timedelta(days=DAYS - 1), yesterday


def _org_key(root: ApiClient, org: DemoOrg, *, path: Path) -> str:
    kept: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
    if org.slug in kept:
        return kept[org.slug]
    body = {
        "org_slug": org.slug,
        "company_name": org.company,
        "admin_email": org.email,
        "subscription_plan": org.plan,
    }
    try:
        answer = root.post("/organizations/onboard", body)
    except ApiRefusalError as refusal:
        if refusal.status != 409:
            raise
        # The org is there from an earlier demo whose key file is gone: a key is shown once only.
        answer = root.post(f"/organizations/{org.slug}/api-keys")
    kept[org.slug] = answer["api_key"]
    write_private(path, json.dumps(kept))
    return kept[org.slug]


def _connect(client: ApiClient, org: DemoOrg) -> None:
    body = {"credential": org.openai_key, "credential_name": "demo"}
    answer = client.post(f"/integrations/{org.slug}/openai/setup", body)
    if answer["validation_status"] != "VALID":
        raise StackError(f"OpenAI refused the key: {answer.get('error')}")


def _run(
    client: ApiClient, path: str, body: dict[str, Any], org: DemoOrg, *, say: Say
) -> dict[str, Any]:
    accepted = client.post(path, body)

    def tell(run: dict[str, Any]) -> None:
        steps = " · ".join(f"{s['step']} {s['status']}" for s in run.get("steps", []))
        say(f"  {org.slug} {accepted['pipeline_id']} {run['status']}  {steps}")

    run = client.wait_for_run(accepted["status_url"], seconds=RUN_SECONDS, on_change=tell)
    if run["status"] != "SUCCESS":
        raise StackError(f"run {run['run_id']} ended {run['status']}: {run.get('error')}")
    return run


@contextmanager
def _step(name: str, *, log: Path) -> Iterator[None]:
    try:
        yield
    except StackError as error:
        raise StackError(f"step «{name}» failed: {error}", log=error.log or log) from error
