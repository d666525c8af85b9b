"""Cost of an organization, read from its view `cost_daily` with one query."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from convergence.api.costs.coverage import build_coverage, list_connected, list_days
from convergence.api.costs.dimensions import TAG_PREFIX, Filter, build_tag_path
from convergence.api.http.services import ApiServices
from convergence.errors import ConflictError, WarehouseError
from convergence.providers.cost_streams import list_streams
from convergence.providers.registry import load_registry
from convergence.warehouse.params import Param, typed
from convergence.warehouse.query import Row, run_file

MAX_ROWS = 20_000
"""Rows of one page."""
_OLD_VIEW = re.compile(
    r"Unrecognized name: x_(CostStream|Money|Shown|Attribution)|Not found: Table .*"
    r"cost_daily_by_basis"
)
"""What BigQuery says of a dataset whose cost views are of a release without cost streams."""

log = logging.getLogger(__name__)

Basis = Literal["best", "billed", "computed"]


@dataclass(frozen=True)
class CostQuery:
    """The requested cost; the range of days includes both ends.

    Attributes:
        group_by: dimensions and tags.
        basis: `best` for the authoritative rows, else one basis of every stream.
        page: the cursor of the page; None for the first.
    """

    org_slug: str
    start: date
    end: date
    group_by: tuple[str, ...]
    filters: tuple[Filter, ...] = ()
    basis: Basis = "best"
    currency: str | None = None
    page: str | None = None


def read_costs(query: CostQuery, *, services: ApiServices) -> dict[str, Any]:
    """Return one page of grouped cost as `CostResponse` describes it.

    Amounts, days and cursors are text already: models would cost more than the query.

    Raises:
        ConflictError: the cost has changed since the page before.
    """
    rows_before, digest_before = _parse_page(query.page)
    (row,) = _run_query(query, services=services, rows_before=rows_before)
    found = {name: _load(row[name]) for name in row if name != "row_count"}
    registry = load_registry(services.settings)
    streams = list_connected(registry, found["connections"], found["shown_days"], query.filters)
    digest = _compute_digest(query, row)
    if digest_before not in {None, digest}:
        raise ConflictError(
            "The cost has changed since the page before; begin again without `page`."
        )
    rows, totals = _name_rows(found["cost_rows"], query.group_by), found["totals"]
    for one in (*rows, *totals):
        one["cost"] = one["effective_cost"]
    only = totals[0] if len(totals) == 1 else None
    response = {
        "org_slug": query.org_slug,
        "start_date": query.start.isoformat(),
        "end_date": query.end.isoformat(),
        "group_by": list(query.group_by),
        "basis": only["basis"] if only else None if query.basis == "best" else query.basis,
        "currency": only["currency"] if only else query.currency,
        "rows": rows,
        "totals": totals,
        "billing_months": [_build_month(one, query) for one in found["months"]],
        "coverage": build_coverage(
            streams,
            found["shown_days"],
            days=list(list_days(query.start, query.end)),
            today=datetime.now(UTC).date(),
            store=services.store,
            org_slug=query.org_slug,
        ),
        "unpriced": found["unpriced"],
        "row_count": row["row_count"],
    }
    last = rows_before + len(rows)
    if rows and last < row["row_count"]:
        response["next_page"] = f"{last}.{digest}"
    return response


def _load(text: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads(text)
    return loaded


def _run_query(query: CostQuery, *, services: ApiServices, rows_before: int) -> list[Row]:
    """Run the report; a dataset of a release without cost streams has one of its own."""
    try:
        return _run_report("cost_report", query, services=services, rows_before=rows_before)
    except WarehouseError as error:
        if not _OLD_VIEW.search(str(error)):
            raise
    log.info("%s has cost views of a release without cost streams", query.org_slug)
    return _run_report(
        "cost_report_before_streams", query, services=services, rows_before=rows_before
    )


def _run_report(
    name: str, query: CostQuery, *, services: ApiServices, rows_before: int
) -> list[Row]:
    warehouse, is_best = services.warehouse, query.basis == "best"
    named = [*query.group_by, *(one.dimension for one in query.filters)]
    tags = list(dict.fromkeys(name for name in named if name.startswith(TAG_PREFIX)))
    columns = {name: f"tag_{number}" for number, name in enumerate(tags)}
    filters = [
        {"dimension": columns.get(one.dimension, one.dimension), "parameter": f"values_{number}"}
        for number, one in enumerate(query.filters)
    ]
    return run_file(
        warehouse,
        warehouse.sql(f"costs/{name}.sql"),
        identifiers={
            "project": warehouse.project,
            "dataset": services.settings.org_dataset(query.org_slug),
            "costs": "cost_daily" if is_best else "cost_daily_by_basis",
            "attribution": "x_Attribution" if is_best else [],
            "groupings": [columns.get(name, name) for name in query.group_by],
            "filters": filters,
            "tags": list(columns.values()),
        },
        params={
            **_build_params(query, services=services),
            "rows_before": rows_before,
            **{column: build_tag_path(tag) for tag, column in columns.items()},
            **{f"values_{number}": list(one.values) for number, one in enumerate(query.filters)},
        },
    )


def _build_params(query: CostQuery, *, services: ApiServices) -> dict[str, Param]:
    streams = list_streams(load_registry(services.settings))
    billed = {stream.provider for stream in streams if stream.declared.billed}
    return {
        "org_slug": query.org_slug,
        "start_date": query.start,
        "end_date": query.end,
        "basis": query.basis,
        "currency": query.currency or "",
        "max_rows": MAX_ROWS,
        # For a dataset of a release without cost streams, which preferred OpenAI's computed cost.
        "billed_providers": typed(sorted(billed - {"openai"}), "STRING"),
    }


def _name_rows(rows: list[dict[str, Any]], group_by: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows whose tags have their names; the query's columns are numbered."""
    if not any(name.startswith(TAG_PREFIX) for name in group_by):
        return rows
    return [
        dict(zip((*group_by, *list(row)[len(group_by) :]), row.values(), strict=True))
        for row in rows
    ]


def _build_month(month: dict[str, Any], query: CostQuery) -> dict[str, Any]:
    first = date.fromisoformat(month["billing_start"])
    last = date.fromisoformat(month["billing_end"]) - timedelta(days=1)
    return {
        "billing_month": month["billing_month"],
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "is_cut": query.start > first or query.end < last,
    }


def _parse_page(page: str | None) -> tuple[int, str | None]:
    """Return the number of rows before a page, and the digest of the cost that it belongs to."""
    if page is None:
        return 0, None
    rows_before, _, digest = page.partition(".")
    return int(rows_before), digest


def _compute_digest(query: CostQuery, row: Row) -> str:
    """Return a digest of what all pages of a query have in common."""
    common = [row[name] for name in ("row_count", "totals", "months", "unpriced", "shown_days")]
    requested = (query.start, query.end, query.group_by, query.filters, query.basis, query.currency)
    return hashlib.sha256(repr((common, requested)).encode()).hexdigest()[:16]
