"""Costs as the API asks and answers them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool

from convergence.api.models import Answer
from convergence.api.problems import FieldFault, InvalidFieldsError, fault
from convergence.api.services import Services
from convergence.errors import NotFoundError
from convergence.pipelines.asked import MAX_RANGE_DAYS
from convergence.providers.registry import Basis, Registry, registry
from convergence.tenants.costs import (
    DIMENSIONS,
    CostQuery,
    CostReport,
    Dimension,
    read_costs,
)

_COLUMNS = (*DIMENSIONS, "basis", "currency", "cost", "list_cost", "billed_cost", "unpriced_rows")
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CostRow(Answer):
    """Cost of one group; only the dimensions of `group_by` are filled."""

    day: date | None = None
    provider: str | None = None
    service: str | None = None
    model: str | None = None
    project: str | None = None
    basis: str = Field(examples=["computed"])
    currency: str = Field(examples=["USD"])
    cost: str | None = Field(description="Effective cost; null where no row of it has a price.")
    list_cost: str | None = Field(description="At public prices.")
    billed_cost: str | None = Field(description="What the invoice shows or is expected to show.")
    unpriced_rows: int = Field(description="Rows of usage without a price, in no sum.")


class CostTotal(Answer):
    """A sum within one basis and one currency."""

    basis: str
    currency: str
    cost: str
    list_cost: str
    billed_cost: str


class UnpricedUsage(Answer):
    """Usage that has no cost, and why."""

    day: date
    provider: str
    service: str | None = None
    model: str | None = None
    service_tier: str | None = None
    reason: str = Field(examples=["no_price"])
    quantity: str | None = None
    unit: str | None = None


class CostAnswer(Answer):
    """Costs of a range of UTC days; money is in decimal strings."""

    org_slug: str
    start_date: date
    end_date: date
    group_by: list[str]
    rows: list[CostRow]
    totals: list[CostTotal] = Field(description="One per basis and currency, never across.")
    unpriced: list[UnpricedUsage]


class CostFilter(Answer):
    """What narrows the rows."""

    basis: Basis | None = None
    provider: str | None = None
    service: str | None = None
    model: str | None = None
    project: str | None = None


async def costs(
    services: Services, org: str, *, first: date, last: date, group_by: str, only: CostFilter
) -> CostAnswer:
    """Read an org's costs.

    Raises:
        InvalidFieldsError: the range or the grouping is wrong; every fault is listed.
    """
    dimensions = _dimensions(first, last, group_by)
    known = registry(services.settings)
    provider = _provider(known, only.provider)
    query = CostQuery(
        dataset=services.settings.org_dataset(org),
        first_day=first,
        last_day=last,
        group_by=dimensions,
        bases=_bases(known, only.basis),
        provider=provider,
        service=only.service or "",
        model=only.model or "",
        project=only.project or "",
    )
    report = await run_in_threadpool(read_costs, services.warehouse, query)
    return _answer(report, org=org, first=first, last=last, dimensions=dimensions)


def as_csv(answer: CostAnswer) -> str:
    """The rows as CSV with a header; text that a spreadsheet would run is quoted."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for row in answer.rows:
        values = row.model_dump(mode="json")
        writer.writerow([_cell(name, values[name]) for name in _COLUMNS])
    return out.getvalue()


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - a JSON value
    text = "" if value is None else str(value)
    is_text = name in DIMENSIONS
    return f"'{text}" if is_text and text.startswith(_FORMULA) else text


def _dimensions(first: date, last: date, group_by: str) -> list[Dimension]:
    faults: list[FieldFault] = []
    count = (last - first).days + 1
    if count < 1:
        faults.append(fault("query.end_date", f"{last} lies before start_date {first}"))
    elif count > MAX_RANGE_DAYS:
        told = f"the range has {count} days; {MAX_RANGE_DAYS} are allowed"
        faults.append(fault("query.end_date", told))
    asked = [part.strip() for part in group_by.split(",") if part.strip()]
    faults += [
        fault("query.group_by", f"{part!r} is no dimension", given=part, accepted=DIMENSIONS)
        for part in asked
        if part not in DIMENSIONS
    ]
    if faults:
        raise InvalidFieldsError(faults)
    return [part for part in DIMENSIONS if part in asked]


def _provider(known: Registry, name: str | None) -> str:
    if name is None:
        return ""
    try:
        return known.get(name).id
    except NotFoundError:
        accepted = [provider.id for provider in known]
        wrong = fault("query.provider", "is no provider", given=name, accepted=accepted)
        raise InvalidFieldsError([wrong]) from None


def _bases(known: Registry, basis: Basis | None) -> Sequence[str]:
    return [f"{provider.id}/{basis or provider.cost_sources.default}" for provider in known]


def _answer(
    report: CostReport, *, org: str, first: date, last: date, dimensions: Sequence[str]
) -> CostAnswer:
    return CostAnswer(
        org_slug=org,
        start_date=first,
        end_date=last,
        group_by=list(dimensions),
        rows=[CostRow(**_plain(row)) for row in report.rows],
        totals=[CostTotal(**_plain(vars(total))) for total in report.totals],
        unpriced=[UnpricedUsage(**_plain(row)) for row in report.unpriced],
    )


_MONEY = {"cost", "list_cost", "billed_cost", "quantity"}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(value) if name in _MONEY else value for name, value in row.items()}


def _text(value: Decimal | int | None) -> str | None:
    # Never an exponent: a reader may take 1E-9 for text.
    return None if value is None else format(Decimal(value), "f")
