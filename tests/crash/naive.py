"""A loader as many are written: it appends each page, and then notes how far it came.

It empties the days first, retries from its note, and loses nothing while nothing dies. The same
faults show what is wrong with it; so a loop that finds nothing in the product has looked.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from google.cloud.bigquery import LoadJobConfig

from convergence.extract import canonical
from convergence.extract.storage.disk import Disk, write_durably
from convergence.processors.lib.daily.extraction import get_column_types
from convergence.processors.openai.shape import UsageShape
from convergence.warehouse.schemas import TableSchema
from crash.platform import USAGE_TABLE, Platform, days

if TYPE_CHECKING:
    from crash.points import Points
    from crash.task import Try

BATCH_ROWS = 12
"""Rows of one load: a page of a day needs two or three, as a large page does in life."""
GROUPS = ("project_id", "user_id", "api_key_id", "model", "batch", "service_tier", "api_source")


def load(job: Try, platform: Platform, points: Points) -> None:
    """Append the usage of the job's days."""
    services = platform.services()
    client = services.warehouse.client
    dataset = services.settings.org_dataset(job.org)
    table = f"{client.project}.{dataset}.{USAGE_TABLE}"
    folder = services.settings.configs_dir
    schema = TableSchema.load(folder / "openai/cost/schemas/openai_usage_daily_raw.json")
    shape = UsageShape("completions", columns=get_column_types(schema))
    note = services.settings.var_dir / "naive" / f"{job.run_id}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    requested = days(job.day_count)
    token, first = _noted(note)
    if first:
        client.query_and_wait(
            f"DELETE FROM `{table}` WHERE usage_date BETWEEN '{requested[0]}' AND '{requested[-1]}'"
        )
        points.reach("attempt_taken")
        _note(note, token)
    while token != "done":
        page = _fetch_page(platform, job, token)
        rows = [
            json.loads(canonical.encode_row(shape.build_row({**result, **_bounds(bucket)})))
            for bucket in page["data"]
            for result in bucket["results"]
        ]
        for first_row in range(0, len(rows), BATCH_ROWS):
            points.reach("before_submit")
            batch = rows[first_row : first_row + BATCH_ROWS]
            config = LoadJobConfig(schema=client.get_table(table).schema)
            loading = client.load_table_from_json(batch, table, job_config=config)
            points.reach("job_sent")
            loading.result()
            points.reach("job_done")
        token = page["next_page"] or "done"
        _note(note, token)


def _fetch_page(platform: Platform, job: Try, token: str) -> Any:  # JSON
    requested = days(job.day_count)
    start = datetime.combine(requested[0], datetime.min.time(), UTC)
    end = datetime.combine(requested[-1] + timedelta(days=1), datetime.min.time(), UTC)
    params: dict[str, str | list[str]] = {
        "start_time": str(int(start.timestamp())),
        "end_time": str(int(end.timestamp())),
        "bucket_width": "1d",
        "limit": "1",
        "group_by[]": list(GROUPS),
        **({"page": token} if token else {}),
    }
    key = platform.env.services.open_credential(job.org, "openai")
    reply = httpx.get(
        f"{platform.provider.url}/organization/usage/completions",
        params=params,
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
        trust_env=False,
    )
    return reply.raise_for_status().json()


def _bounds(bucket: dict[str, Any]) -> dict[str, Any]:
    return {name: bucket[name] for name in ("start_time", "end_time")}


def _noted(note: Path) -> tuple[str, bool]:
    """The next page's token, and whether nothing is noted yet."""
    try:
        return json.loads(note.read_text())["next"], False
    except FileNotFoundError:
        return "", True


def _note(note: Path, token: str) -> None:
    write_durably(Disk(), note, [json.dumps({"next": token}).encode()])
