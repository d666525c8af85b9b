"""Fill a data directory through an old release's own API; run by that release's interpreter.

Imports that release's `stack` alone, so it goes on working whatever today's code becomes. Started
by `old_release.py`, which makes the environment. Leaves `recorded.json` in the data directory: what
the API said the costs are, which a newer version must say as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from stack import customers, demo
from stack.__main__ import say
from stack.client import ApiClient
from stack.settings import StackSettings
from stack.stack import Stack

RUN_SECONDS = 1800
GROUPING = "day,provider,service,model"
REPEATED_KEY = "a-request-that-is-sent-again-after-the-upgrade"
OWN_SCHEDULE = {"schedule": "30 4 * * *", "timezone": "Europe/Berlin"}


def main() -> int:
    """Drive one stack and stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orgs", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    arguments = parser.parse_args()
    demo.ORGS = customers.ORGS[: arguments.orgs]
    demo.RUN_SECONDS = RUN_SECONDS
    demo.DAYS = arguments.days
    customers.EXPORTED_DAYS = max(arguments.days, customers.EXPORTED_DAYS)
    settings = StackSettings()
    with Stack(settings, say=say, on_schedule=False) as stack:
        walk = demo.Demo(stack, say=say)
        walk.drive()
        record = {
            "start_date": walk.first.isoformat(),
            "end_date": walk.last.isoformat(),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "organizations": [settle(settings, walk, org.slug) for org in demo.ORGS],
        }
    (settings.var_dir / "recorded.json").write_text(json.dumps(record, indent=1) + "\n")
    return 0


def settle(settings: StackSettings, walk: demo.Demo, slug: str) -> dict[str, Any]:
    """Leave state that is not only the demo's, and return what the API says of the org."""
    keys = json.loads((settings.var_dir / "secrets" / "demo_keys.json").read_text())
    days = {"start_date": walk.first.isoformat(), "end_date": walk.last.isoformat()}
    path = f"/pipelines/run/{slug}/openai/cost/cost_calculation"
    with ApiClient(settings.api_url, headers={"X-API-Key": keys[slug]}) as client:
        client.put(f"/pipelines/config/{slug}/openai-cost-extract", dict(OWN_SCHEDULE))
        head = {"X-API-Key": keys[slug], "Idempotency-Key": REPEATED_KEY}
        with ApiClient(settings.api_url, headers=head) as repeated:
            run_id = repeated.post(path, days)["run_id"]
        run = client.wait_for_runs(slug, [run_id], seconds=RUN_SECONDS)[0]
        if run["status"] != "SUCCESS":
            raise SystemExit(f"{path} ended {run['status']}: {run['error']}")
        queued = client.post(
            "/scheduler/trigger", {"pipeline": "openai/cost/cost_calculation", **days}
        )
        client.wait_for_runs(slug, _run_ids(queued), seconds=RUN_SECONDS)
        costs = client.get(f"/costs/{slug}", group_by=GROUPING, **days)
        listed = client.get(f"/pipelines/runs/{slug}", limit="100")
    return {
        "org_slug": slug,
        "repeated": {"path": path, "body": days, "key": REPEATED_KEY, "run_id": run_id},
        "config": {"pipeline": "openai-cost-extract", **OWN_SCHEDULE},
        "runs": sorted(one["run_id"] for one in listed["runs"]),
        "costs": costs,
    }


def _run_ids(queued: dict[str, Any]) -> list[str]:
    return [queued["run_id"]] if queued.get("run_id") else []


if __name__ == "__main__":
    sys.exit(main())
