"""Slack's incoming webhooks, mounted at `/slack`: what is posted is listed at `/_sandbox/slack`.

Any address under `/slack/services/` is a webhook, but for those that begin with `gone`.
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
"""

from __future__ import annotations

from json import JSONDecodeError

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from convergence_sandbox.providers.provider import PageDialect, Provider


async def post(request: Request) -> Response:
    """`POST /services/T…/B…/…`: ok, or one of Slack's words for what is wrong."""
    webhook = request.path_params["webhook"]
    if webhook.startswith("gone"):
        return PlainTextResponse("no_service", 404)
    try:
        body = await request.json()
    except (JSONDecodeError, UnicodeDecodeError):
        return PlainTextResponse("invalid_payload", 400)
    if not isinstance(body, dict) or not (body.get("text") or body.get("blocks")):
        return PlainTextResponse("no_text", 400)
    request.app.state.slack.add({"webhook": webhook, "text": body.get("text"), "body": body})
    return PlainTextResponse("ok")


PROVIDER = Provider(
    name="slack",
    prefix="/slack",
    routes=(Route("/services/{webhook:path}", post, methods=["POST"]),),
    dialect=PageDialect(),
)
