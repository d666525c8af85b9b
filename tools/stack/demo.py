"""The demo: two organizations from nothing to their daily cost, through the HTTP API alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from stack.client import ApiClient, ApiRequestError
from stack.customers import CONNECTIONS, ORGS, Connection, DemoOrg
from stack.errors import StackError
from stack.report import DemoReport, OrgReport, render
from stack.secrets import write_private
from stack.stack import Stack

Say = Callable[[str], None]
RUN_SECONDS = 300
DAYS = 3


def run_demo(stack: Stack, *, say: Say) -> int:
    """Start the stack, drive it, write `var/demo/report.json`, stop the stack.

    Returns:
        0; every failure is a `StackError` that names the step.
    """
    began, settings = time.monotonic(), stack.settings
    with _step("start the stack", log=settings.log_dir / "api-server.log"):
        stack.__enter__()
    try:
        report = Demo(stack, say=say).drive()
    finally:
        say("stopping everything")
        stack.stop()
    path = settings.var_dir / "demo" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    print(render(report))
    say(f"done in {time.monotonic() - began:.0f} s; the same as JSON: {path}")
    return 0


def demo_range(now: datetime) -> tuple[date, date]:
    """Return the last three complete UTC days, both ends included."""
    yesterday = now.astimezone(UTC).date() - timedelta(days=1)
    return yesterday - timedelta(days=DAYS - 1), yesterday


class Demo:
    """One walk through a running stack."""

    def __init__(self, stack: Stack, *, say: Say) -> None:
        self._settings = stack.settings
        self._secrets = stack.secrets
        self._log = stack.settings.log_dir / "api-server.log"
        self._say = say
        self.first, self.last = demo_range(datetime.now(UTC))

    def drive(self) -> DemoReport:
        """Bootstrap, then take each organization from nothing to its cost."""
        settings = self._settings
        report = DemoReport(self.first, self.last, airflow_url=settings.base_url)
        root_header = {"X-CA-Root-Key": self._secrets.root_api_key}
        with ApiClient(settings.api_url, headers=root_header) as root:
            with self._step("bootstrap"):
                made = root.post("/admin/bootstrap", {"force_recreate_dataset": False})
                self._say(f"bootstrap: {len(made['tables_created'])} tables created")
            for org, api_url in zip(ORGS, cycle(settings.api_urls), strict=False):
                with self._step(f"onboard {org.slug}"):
                    key = self._org_key(root, org)
                    self._say(f"onboarded {org.slug}")
                with ApiClient(api_url, headers={"X-API-Key": key}) as client:
                    report.orgs.append(self._serve(client, org))
        return report

    def _serve(self, client: ApiClient, org: DemoOrg) -> OrgReport:
        """Connect everything, run everything, read what it cost."""
        for each in CONNECTIONS:
            with self._step(f"connect {each.name} for {org.slug}"):
                self._connect(client, org, each)
        self._say(f"connected {', '.join(one.name for one in CONNECTIONS)} for {org.slug}")
        body = {"start_date": self.first.isoformat(), "end_date": self.last.isoformat()}
        with self._step(f"load prices for {org.slug}"):
            self._run_all(client, org, [path for one in CONNECTIONS for path in one.prepare], {})
        with self._step(f"run every provider's pipelines for {org.slug}"):
            paths = [path for one in CONNECTIONS for path in one.pipelines]
            runs = self._run_all(client, org, paths, body)
        with self._step(f"read costs of {org.slug}"):
            grouping = "day,provider,service,model"
            costs = client.get(f"/costs/{org.slug}", group_by=grouping, **body)
        with self._step(f"read the reconciliation of {org.slug}"):
            path = f"/reconciliation/{org.slug}"
            reconciliation = client.get(path, group_by="stream,reason", **body)
        return OrgReport(slug=org.slug, runs=runs, costs=costs, reconciliation=reconciliation)

    def _connect(self, client: ApiClient, org: DemoOrg, to: Connection) -> None:
        credential = to.credential(self._settings, org.slug)
        # A month of history would be imported next to the three days shown.
        body = {"credential": credential, "credential_name": "demo", "import_history": False}
        response = client.post(f"/integrations/{org.slug}/{to.provider}/setup", body)
        if response["validation_status"] != "VALID":
            raise StackError(f"{to.name} did not take the credential: {response.get('error')}")
        if to.configure is not None:
            pipeline, params = to.configure
            config = {"params": params(self._settings, org.slug)}
            client.put(f"/pipelines/config/{org.slug}/{pipeline}", config)

    def _run_all(
        self, client: ApiClient, org: DemoOrg, paths: list[str], body: dict[str, str]
    ) -> list[dict[str, Any]]:
        """Trigger pipelines at once and follow them to their ends."""
        accepted = [
            client.post(f"/pipelines/run/{org.slug}/{path}", body)["run_id"] for path in paths
        ]

        def print_run(run: dict[str, Any]) -> None:
            steps = " · ".join(f"{s['step']} {s['status']}" for s in run.get("steps", []))
            self._say(f"  {org.slug} {run['pipeline']} {run['status']}  {steps}")

        runs = client.wait_for_runs(org.slug, accepted, seconds=RUN_SECONDS, on_change=print_run)
        for run in runs:
            if run["status"] != "SUCCESS":
                message = (
                    f"{run['pipeline']}: {run['run_id']} ended {run['status']}: {run['error']}"
                )
                raise StackError(message)
        return runs

    def _org_key(self, root: ApiClient, org: DemoOrg) -> str:
        path = self._settings.var_dir / "secrets" / "demo_keys.json"
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
            response = root.post("/organizations/onboard", body)
        except ApiRequestError as rejection:
            if rejection.status != 409:
                raise
            # It is there from an earlier demo whose key file is gone: a key is shown once only.
            response = root.post(f"/organizations/{org.slug}/api-keys")
        kept[org.slug] = response["api_key"]
        write_private(path, json.dumps(kept))
        return kept[org.slug]

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        with _step(name, log=self._log):
            yield


@contextmanager
def _step(name: str, *, log: Path) -> Iterator[None]:
    try:
        yield
    except StackError as error:
        raise StackError(f"step «{name}» failed: {error}", log=error.log or log) from error
