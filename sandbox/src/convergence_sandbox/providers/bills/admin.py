"""The switches of bill effects, for tests and demos; no client of a provider calls them.

POST   /_sandbox/bill_effects          one effect, or a list of them (`effect.FIELDS`)
GET    /_sandbox/bill_effects          those in force; `?org=` and `?provider=` select
DELETE /_sandbox/bill_effects          removes them; `?org=` and `?provider=` select
GET    /_sandbox/bill_effects/kinds    every effect of every provider and its parameters
GET    /_sandbox/bill_effects/amounts  `?org=&provider=&first_day=&last_day=`, and `read`,
                                       `as_of`: the exact amount that each effect has caused
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from json import JSONDecodeError
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from convergence_sandbox.providers.bills.book import EffectBook
from convergence_sandbox.providers.bills.effect import parse_effect
from convergence_sandbox.providers.bills.line import View
from convergence_sandbox.providers.bills.parameter import InvalidEffectError
from convergence_sandbox.providers.bills.statement import sum_amounts
from convergence_sandbox.providers.provider import from_json

PATH = "/_sandbox/bill_effects"
MAX_DAYS = 400


class EffectRoutes:
    """Routes that read and change one book."""

    def __init__(self, book: EffectBook) -> None:
        self._book = book

    def list_routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(PATH, self.add, methods=["POST"]),
            Route(PATH, self.list_all, methods=["GET"]),
            Route(PATH, self.clear, methods=["DELETE"]),
            Route(f"{PATH}/kinds", self.list_kinds, methods=["GET"]),
            Route(f"{PATH}/amounts", self.list_amounts, methods=["GET"]),
        ]

    async def add(self, request: Request) -> Response:
        """Put effects in force; none of them if one is wrong."""
        try:
            payload = from_json(await request.body())
            rows = payload if isinstance(payload, list) else [payload]
            effects = [parse_effect(row, self._book.sources) for row in rows]
        except (InvalidEffectError, JSONDecodeError) as error:
            return _reject(error)
        added = self._book.add_effects(effects)
        return JSONResponse({"ids": [one.identity for one in added]}, status_code=201)

    async def list_all(self, request: Request) -> Response:
        """List the effects in force."""
        return JSONResponse([one.as_json() for one in self._book.list_effects(**_select(request))])

    async def clear(self, request: Request) -> Response:
        """Remove effects."""
        self._book.clear_effects(**_select(request))
        return Response(status_code=204)

    async def list_kinds(self, _request: Request) -> Response:
        """List the effects that there are."""
        return JSONResponse(
            {
                source.name: {
                    kind.name: {
                        "does": kind.does,
                        "stage": kind.stage.name.lower(),
                        "needs_models": kind.needs_models,
                        "parameters": {one.name: one.as_json() for one in kind.parameters},
                    }
                    for kind in source.kinds.values()
                }
                for source in self._book.sources.values()
            }
        )

    async def list_amounts(self, request: Request) -> Response:
        """Return each day's totals, and each effect's amount by day, model and meter."""
        try:
            return JSONResponse(self._find_amounts(request))
        except (InvalidEffectError, ValueError) as error:
            return _reject(error)

    def _find_amounts(self, request: Request) -> dict[str, Any]:
        params = request.query_params
        org, provider = params.get("org", ""), params.get("provider", "")
        if provider not in self._book.sources or not org:
            accepted = ", ".join(sorted(self._book.sources))
            raise InvalidEffectError(f"org and provider are required; providers: {accepted}")
        first = date.fromisoformat(params.get("first_day", ""))
        last = date.fromisoformat(params.get("last_day", first.isoformat()))
        days, amounts = [], []
        for back in range(min((last - first).days + 1, MAX_DAYS)):
            day = first + timedelta(days=back)
            view = _read_view(request, self._book.current_view(provider, org, day))
            bill = self._book.make_day(provider, org, day, view=view)
            days.append(
                {
                    "day": day.isoformat(),
                    "read": view.read,
                    "base": sum_amounts(bill.base),
                    "billed": sum_amounts(bill.lines),
                }
            )
            amounts += [one.as_json(day) for one in bill.caused]
        return {"org": org, "provider": provider, "days": days, "amounts": amounts}


def _read_view(request: Request, current: View) -> View:
    params = request.query_params
    read = int(params.get("read", current.read))
    text = params.get("as_of")
    if text is None:
        return replace(current, read=read)
    as_of = datetime.fromisoformat(text)
    if as_of.tzinfo is None:
        raise InvalidEffectError(f"as_of: {text!r} has no zone")
    return View(as_of, read)


def _select(request: Request) -> dict[str, str | None]:
    return {name: request.query_params.get(name) for name in ("org", "provider")}


def _reject(error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=422)
