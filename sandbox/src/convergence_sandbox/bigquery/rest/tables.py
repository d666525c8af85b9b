"""tables and tabledata: list, insert, get, patch, update, delete, rows out and rows streamed in.

https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
"""

from __future__ import annotations

import threading

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.errors import invalid, not_implemented
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import TableMeta, TableRef
from convergence_sandbox.bigquery.rest.jobs.reader import Page
from convergence_sandbox.bigquery.rest.wire import (
    Json,
    body_json,
    check_etag,
    count,
    flag,
    make_token,
    page_of,
    read_token,
    reject_unknown,
    reply,
)

MAX_STREAMED_ROWS = 50_000  # https://cloud.google.com/bigquery/quotas#streaming_inserts
INSERT_FIELDS = ("kind", "rows", "skipInvalidRows", "ignoreUnknownValues")


class TableRoutes:
    """The HTTP side of tables and their rows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changing = threading.Lock()

    def routes(self) -> list[Route]:
        """Everything under a dataset."""
        tables = "/projects/{project}/datasets/{dataset}/tables"
        one = f"{tables}/{{table}}"
        return [
            Route(tables, self.listing, methods=["GET"]),
            Route(tables, self.insert, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.change, methods=["PATCH", "PUT"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(f"{one}/data", self.rows, methods=["GET"]),
            Route(f"{one}/insertAll", self.insert_all, methods=["POST"]),
        ]

    async def listing(self, request: Request) -> Response:
        """Return a page of a dataset's tables and views, by name."""
        params = request.path_params
        found = await run_in_threadpool(
            self._engine.list_tables, params["project"], params["dataset"]
        )
        page, rest = page_of([meta.to_list_item() for meta in found], request)
        response = {"kind": "bigquery#tableList", "tables": page, "totalItems": len(found)}
        return reply(response | rest)

    async def insert(self, request: Request) -> Response:
        """Make a table or a view."""
        params, resource = request.path_params, await body_json(request)
        meta = await run_in_threadpool(
            self._engine.create_table, params["project"], params["dataset"], resource
        )
        return reply(await run_in_threadpool(self._resource, meta.ref, meta))

    async def get(self, request: Request) -> Response:
        """Return one table or view."""
        return reply(await run_in_threadpool(self._resource, _ref(request)))

    async def change(self, request: Request) -> Response:
        """Patch (what is given changes) or update (what is not given goes)."""
        resource = await body_json(request)
        return reply(await run_in_threadpool(self._change, request, resource))

    def _change(self, request: Request, resource: Json) -> Json:
        with self._changing:
            if "if-match" in request.headers:
                check_etag(request, self._resource(_ref(request)))
            partial = request.method == "PATCH"
            meta = self._engine.update_table(_ref(request), resource, partial=partial)
            return self._resource(meta.ref, meta)

    async def delete(self, request: Request) -> Response:
        """Drop a table, a view or one partition."""
        await run_in_threadpool(self._engine.delete_table, _ref(request))
        return reply()

    async def rows(self, request: Request) -> Response:
        """Return a page of a table's rows."""
        ref, params = _ref(request), request.query_params
        selected = tuple(filter(None, params.get("selectedFields", "").split(",")))
        if any("." in name for name in selected):
            raise not_implemented("selectedFields of nested fields")
        token = params.get("pageToken")
        start = int(read_token(token)["start"]) if token else count(request, "startIndex") or 0
        page = Page(
            start=start,
            size=count(request, "maxResults"),
            int64_timestamps=flag(request, "formatOptions.useInt64Timestamp"),
        )
        rows, total = await run_in_threadpool(self._read, ref, selected, page)
        response: Json = {"kind": "bigquery#tableDataList", "totalRows": str(total)}
        if rows:
            response["rows"] = rows
        if start + len(rows) < total and (rows or page.size == 0):
            response["pageToken"] = make_token(start=start + len(rows))
        return reply(response)

    def _read(self, ref: TableRef, selected: tuple[str, ...], page: Page) -> tuple[list[Json], int]:
        whole = TableRef(ref.project, ref.dataset, ref.table.partition("$")[0])
        meta = self._engine.get_table(whole)
        if meta.is_view:
            raise invalid(f"Cannot list a table of type VIEW: {ref}")
        for name in selected:
            _check_field(meta.schema, name)
        columns = len(selected) or len(meta.schema.fields)
        return self._engine.read_table(
            ref,
            start=page.start,
            max_results=page.rows_of(columns),
            selected_fields=selected,
            int64_timestamps=page.int64_timestamps,
        )

    async def insert_all(self, request: Request) -> Response:
        """Stream rows in."""
        body = await body_json(request)
        reject_unknown(
            {key: value for key, value in body.items() if value not in (None, "")},
            INSERT_FIELDS,
            where="insertAll",
        )
        rows = body.get("rows") or []
        if not rows:
            raise invalid("No rows present in the request.")
        if len(rows) > MAX_STREAMED_ROWS:
            raise invalid(f"Too many rows: {len(rows)}; at most {MAX_STREAMED_ROWS} are taken.")
        errors = await run_in_threadpool(
            self._engine.insert_all,
            _ref(request),
            rows,
            skip_invalid=bool(body.get("skipInvalidRows")),
            ignore_unknown=bool(body.get("ignoreUnknownValues")),
        )
        response: Json = {"kind": "bigquery#tableDataInsertAllResponse"}
        return reply(response | ({"insertErrors": errors} if errors else {}))

    def _resource(self, ref: TableRef, made: TableMeta | None = None) -> Json:
        resource = self._engine.table_resource(ref, made=made)
        parts = f"projects/{ref.project}/datasets/{ref.dataset}/tables/{ref.table}"
        return resource | {"selfLink": f"/bigquery/v2/{parts}"}


def _ref(request: Request) -> TableRef:
    params = request.path_params
    return TableRef(params["project"], params["dataset"], params["table"])


def _check_field(schema: Schema, name: str) -> None:
    if schema.find(name) is None:
        raise invalid(f"Invalid value for selectedFields: no such field: {name}.")
