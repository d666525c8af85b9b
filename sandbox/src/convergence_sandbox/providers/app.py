"""The app: the providers under their prefixes, and `/_sandbox` to lay faults and see requests.

    POST   /_sandbox/faults    one fault, or a list of them (`faults.Fault`)
    GET    /_sandbox/faults    those in wait and how often each struck
    DELETE /_sandbox/faults
    GET    /_sandbox/requests  every request served, oldest first; `?path=` is a regular expression
    DELETE /_sandbox/requests
    POST   /_sandbox/clock     `{"now": "2026-11-21T00:10:00Z"}`: what time balances are as of
    DELETE /_sandbox/clock     the machine's time again
    …      /_sandbox/bill_effects   make a bill disagree with usage: see `bills.admin`
    GET    /_sandbox/google/service_accounts/{seed}   a customer's JSON key
    GET    /_sandbox/mail      every email that the mail server took, oldest first
    DELETE /_sandbox/mail
    GET    /_sandbox/slack     every message that was posted to a webhook, oldest first
    DELETE /_sandbox/slack

A further provider is a module with a `PROVIDER` or several, added to `PROVIDERS`.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from json import JSONDecodeError
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from convergence_sandbox import slack
from convergence_sandbox.kept import Kept
from convergence_sandbox.providers import actions, anthropic, deepseek, google, openai, vendor
from convergence_sandbox.providers.actions import Exchange, RecordedResponse
from convergence_sandbox.providers.bills.admin import EffectRoutes
from convergence_sandbox.providers.bills.book import EffectBook
from convergence_sandbox.providers.bills.declared import load_effects
from convergence_sandbox.providers.clock import Clock
from convergence_sandbox.providers.faults import Fault, FaultBook, InvalidFaultError
from convergence_sandbox.providers.provider import Provider
from convergence_sandbox.providers.traffic import Served, Traffic, find_credential

PROVIDERS: tuple[Provider, ...] = (
    openai.PROVIDER,
    *anthropic.PROVIDERS,
    deepseek.PROVIDER,
    google.PROVIDER,
    *vendor.PROVIDERS,
    slack.PROVIDER,
)
BILLS = {source.name: source for source in (openai.BILL, anthropic.BILL)}


class ProvidersApp(Starlette):
    """Starlette with the fault layer around it: outside, to reach the connection itself."""

    def __init__(self, data_dir: Path, *, bill_effects: Path | None = None) -> None:
        clock = Clock(data_dir / "provider_clock")
        self.bills = EffectBook(data_dir / "bill_effects.json", sources=BILLS, clock=clock)
        if bill_effects is not None:
            self.bills.replace_effects(load_effects(bill_effects, BILLS))
        self.faults = FaultBook(data_dir / "provider_faults.json")
        self.traffic = Traffic()
        mounts: list[BaseRoute] = [
            Mount(provider.prefix, routes=list(provider.routes)) for provider in PROVIDERS
        ]
        super().__init__(routes=[*self._admin_routes(), *mounts])
        self.state.clock = clock
        self.state.bills = self.bills
        self.state.mail = Kept(data_dir / "mail.ndjson")
        self.state.slack = Kept(data_dir / "slack.ndjson")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or let a fault respond, and record the request."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox/"):
            await super().__call__(scope, receive, send)
            return
        served = self.traffic.begin(scope)
        provider = _provider(scope)
        if provider is None:
            await super().__call__(scope, receive, _noting(send, served))
            return
        fault = self.faults.strike(scope["path"], credential=find_credential(scope)[1])
        token = _token(scope, provider)
        response = RecordedResponse()
        exchange = Exchange(
            scope, receive, send, fault or Fault("none"), response, provider.dialect, token
        )
        if actions.asks_for_end_page(exchange):
            served.status = await actions.response_end_page(exchange)
        elif fault is None:
            await super().__call__(scope, receive, _noting(send, served))
        else:
            await super().__call__(scope, receive, response.collect)
            served.fault = fault.choose()
            served.status = await actions.act(served.fault, exchange)

    def _admin_routes(self) -> list[BaseRoute]:
        return [
            Route("/_sandbox/faults", self._add_faults, methods=["POST"]),
            Route("/_sandbox/faults", self._list_faults, methods=["GET"]),
            Route("/_sandbox/faults", self._clear_faults, methods=["DELETE"]),
            Route("/_sandbox/requests", self._list_requests, methods=["GET"]),
            Route("/_sandbox/requests", self._clear_requests, methods=["DELETE"]),
            Route("/_sandbox/clock", self._set_clock, methods=["POST"]),
            Route("/_sandbox/clock", self._free_clock, methods=["DELETE"]),
            *EffectRoutes(self.bills).list_routes(),
            Route("/_sandbox/{kept:str}", self._list_kept, methods=["GET"]),
            Route("/_sandbox/{kept:str}", self._clear_kept, methods=["DELETE"]),
            Route("/_sandbox/google/service_accounts/{seed}", google.show_account, methods=["GET"]),
        ]

    async def _add_faults(self, request: Request) -> Response:
        try:
            payload = await request.json()
            rows = payload if isinstance(payload, list) else [payload]
            added = self.faults.add([Fault.from_json(row) for row in rows])
        except (InvalidFaultError, JSONDecodeError, AttributeError, TypeError) as error:
            return JSONResponse({"error": str(error)}, status_code=422)
        return JSONResponse({"ids": [fault.identity for fault in added]}, status_code=201)

    async def _list_faults(self, _request: Request) -> Response:
        return JSONResponse([asdict(fault) for fault in self.faults.all()])

    async def _clear_faults(self, _request: Request) -> Response:
        self.faults.clear()
        return Response(status_code=204)

    async def _list_requests(self, request: Request) -> Response:
        return JSONResponse(self.traffic.matching(request.query_params.get("path", "")))

    async def _clear_requests(self, _request: Request) -> Response:
        self.traffic.clear()
        return Response(status_code=204)

    async def _set_clock(self, request: Request) -> Response:
        try:
            self.state.clock.set(datetime.fromisoformat((await request.json())["now"]))
        except (JSONDecodeError, LookupError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"a time with zone is wanted: {error}"}, status_code=422)
        return Response(status_code=204)

    async def _list_kept(self, request: Request) -> Response:
        kept = self._kept(request)
        return JSONResponse(kept.all()) if kept else Response(status_code=404)

    async def _clear_kept(self, request: Request) -> Response:
        kept = self._kept(request)
        if kept is None:
            return Response(status_code=404)
        kept.clear()
        return Response(status_code=204)

    def _kept(self, request: Request) -> Kept | None:
        return {"mail": self.state.mail, "slack": self.state.slack}.get(request.path_params["kept"])

    async def _free_clock(self, _request: Request) -> Response:
        self.state.clock.free()
        return Response(status_code=204)


def create_app(data_dir: Path, *, bill_effects: Path | None = None) -> Starlette:
    """The providers' sandbox as an ASGI app for uvicorn.

    Args:
        data_dir: keeps faults in wait, the clock, messages and bill effects.
        bill_effects: a TOML file of effects to put in force (`bills.declared`).

    Raises:
        InvalidEffectError: that file is wrong.
    """
    return ProvidersApp(data_dir, bill_effects=bill_effects)


def _provider(scope: Scope) -> Provider | None:
    for provider in PROVIDERS:
        if scope["path"].startswith(provider.prefix + "/"):
            return provider
    return None


def _token(scope: Scope, provider: Provider) -> str | None:
    """Return the page token that a request carries."""
    payload: dict[str, list[str]] = parse_qs(scope["query_string"].decode("latin-1"))
    values = payload.get(provider.dialect.page_param)
    return values[0] if values else None


def _noting(send: Send, served: Served) -> Send:
    async def note(message: Message) -> None:
        if message["type"] == "http.response.start":
            served.status = message["status"]
        await send(message)

    return note
