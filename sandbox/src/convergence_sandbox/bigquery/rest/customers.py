"""Customers' projects: access needs a token of the project, and exports can be made there.

    POST /_sandbox/google/billing_exports
        {"seed": "acme_corp", "first_day": "2026-11-01", "last_day": "2026-11-20",
         "as_of": "2026-11-21T06:00:00Z", "kind": "detailed", "location": "EU",
         "dataset": "billing_export"}

makes the export of the customer's project, or brings it up to `as_of` as Google would: rows are
added, none is changed. `rows` instead of the two days adds the rows of the request. Every other
project is open to callers without a customer's token.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, cast, get_args

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.model import TableRef
from convergence_sandbox.bigquery.rest.wire import (
    Json,
    body_json,
    error_reply,
    reject_unknown,
    reply,
)
from convergence_sandbox.providers.google.accounts import (
    PROJECT_PREFIX,
    TOKEN_PREFIX,
    project_of,
    read_token,
)
from convergence_sandbox.providers.google.billing import Kind, exported, schema, table_id

_PROJECT = re.compile(r"/projects/([^/]+)")
_FIELDS = ("seed", "first_day", "last_day", "as_of", "kind", "location", "dataset", "rows")


def reject_foreign(tables: Iterable[TableRef], *, project: str) -> None:
    """Reject a job of one project that reads a customer's other one.

    Raises:
        BigQueryError: 403, as for a caller without rights in the table's project.
    """
    for table in tables:
        if table.project.startswith(PROJECT_PREFIX) and table.project != project:
            raise _denied(f"Table {table.project}:{table.dataset}.{table.table}")


class CustomerProjects:
    """Grants access to a customer's project to bearers of its token only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or say why not."""
        rejection = _rejection(scope) if scope["type"] == "http" else None
        if rejection is None:
            await self._app(scope, receive, send)
        else:
            await error_reply(rejection)(scope, receive, send)


class BillingExports:
    """Makes billing exports in customers' projects, without their token."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        """Return the switch."""
        return [Route("/_sandbox/google/billing_exports", self.export, methods=["POST"])]

    async def export(self, request: Request) -> Response:
        """Make or extend an export; returns where it is and how many rows came."""
        body = await body_json(request)
        reject_unknown(body, _FIELDS, where="")
        return reply(await run_in_threadpool(self._export, body), status=201)

    def _export(self, body: Json) -> Json:
        try:
            project, kind = project_of(body["seed"]), cast("Kind", body.get("kind", "detailed"))
            columns = schema(kind) if kind in get_args(Kind) else None
            rows = body["rows"] if "rows" in body else list(_made(project, kind, body))
        except (KeyError, TypeError, ValueError) as exc:
            raise invalid(f"no export can be made of this: {exc!r}") from exc
        if columns is None:
            raise invalid(f"kind is one of {', '.join(get_args(Kind))}")
        dataset = body.get("dataset", "billing_export")
        table = TableRef(project, dataset, table_id(project, kind))
        self._ensure(table, columns, location=body.get("location", "US"))
        added = self._add(table, rows if "rows" in body else self._newer(table, rows))
        return {"project": project, "dataset": dataset, "table": table.table, "rows_added": added}

    def _ensure(self, table: TableRef, columns: list[Json], *, location: str) -> None:
        with suppress(BigQueryError):
            reference = {"projectId": table.project, "datasetId": table.dataset}
            self._engine.create_dataset(
                table.project, {"datasetReference": reference, "location": location}
            )
        resource = {
            "tableReference": {
                "projectId": table.project,
                "datasetId": table.dataset,
                "tableId": table.table,
            },
            "schema": {"fields": columns},
            "timePartitioning": {"type": "DAY"},
        }
        with suppress(BigQueryError):
            self._engine.create_table(table.project, table.dataset, resource)

    def _newer(self, table: TableRef, rows: Iterable[Json]) -> list[Json]:
        """Rows that no earlier call has exported: a usage day's rows come in order of export."""
        there = self._engine.query(
            "SELECT DATE(usage_start_time) AS usage_day, MAX(export_time) AS newest"
            f" FROM `{table.project}.{table.dataset}.{table.table}` GROUP BY 1",
            project=table.project,
        )
        found, _ = there.rows(0, there.row_count, int64_timestamps=True), there.row_count
        newest = {one["f"][0]["v"]: int(one["f"][1]["v"]) for one in found}
        return [row for row in rows if _micros(row) > newest.get(row["usage_start_time"][:10], 0)]

    def _add(self, table: TableRef, rows: Iterable[Json]) -> int:
        """Append each row to the partition of the day on which it was exported."""
        by_day: dict[str, list[Json]] = defaultdict(list)
        for row in rows:
            by_day[row["export_time"][:10].replace("-", "")].append(row)
        return sum(
            self._engine.load_rows(
                TableRef(table.project, table.dataset, f"{table.table}${day}"), [found]
            )
            for day, found in sorted(by_day.items())
        )


def _made(project: str, kind: Kind, body: Json) -> Iterable[Json]:
    as_of = body.get("as_of")
    return exported(
        project,
        first=date.fromisoformat(body["first_day"]),
        last=date.fromisoformat(body["last_day"]),
        as_of=datetime.fromisoformat(as_of) if as_of else datetime.now(UTC),
        kind=kind,
    )


def _micros(row: Json) -> int:
    moment = datetime.fromisoformat(row["export_time"])
    return int(moment.timestamp()) * 1_000_000


def _rejection(scope: Scope) -> BigQueryError | None:
    named = _PROJECT.search(scope["path"])
    headers: dict[bytes, Any] = dict(scope["headers"])
    payload = headers.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
    if named is None:
        return None
    project, customers = named[1], named[1].startswith(PROJECT_PREFIX)
    if not customers and not payload.startswith(TOKEN_PREFIX):
        return None
    bearer = read_token(payload, now=time.time())
    if bearer is None or bearer.expired:
        return BigQueryError(
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            status=401,
            reason="authError",
        )
    if not bearer.may_use(project):
        return _denied(f"Project {project}")
    return None


def may_use(token: str, project: str, *, now: float) -> bool:
    """Return whether a bearer of this token is let into a project."""
    if not project.startswith(PROJECT_PREFIX) and not token.startswith(TOKEN_PREFIX):
        return True
    bearer = read_token(token, now=now)
    return bearer is not None and not bearer.expired and bearer.may_use(project)


def _denied(what: str) -> BigQueryError:
    return BigQueryError(
        f"Access Denied: {what}: User does not have permission.",
        status=403,
        reason="accessDenied",
    )
