"""Turning what the rooms below answer into responses, and the addresses told in them."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from convergence.api.airflow.operations import Outcome
from convergence.api.http.context import CallerKind, context_of
from convergence.api.http.idempotency import HEADER, MAX_KEY_CHARS, REPLAYED_HEADER, Answer
from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.tenants.audit import Actor

WAITING = "It is still at work; ask `status_url`."


def respond(answer: Answer) -> JSONResponse:
    """The answer as a response; a replay says that it is one."""
    headers = {REPLAYED_HEADER: "true"} if answer.replayed else None
    return JSONResponse(dict(answer.body), status_code=answer.status, headers=headers)


def url(request: Request, path: str) -> str:
    """An address of this API as the caller reaches it; `path` begins with a slash."""
    # Not `base_url`: that is the outer app's, without the prefix under which this one is mounted.
    where = request.url
    return f"{where.scheme}://{where.netloc}{request.scope.get('root_path', '')}{path}"


def idempotency_key(request: Request) -> str | None:
    """The caller's `Idempotency-Key`, if one was sent.

    Raises:
        InvalidFieldsError: it is empty, too long, not printable ASCII, or sent twice.
    """
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    key = sent[0]
    sound = len(sent) == 1 and 0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()
    if not sound:
        told = f"is one text of 1 to {MAX_KEY_CHARS} printable ASCII characters"
        raise InvalidFieldsError([fault(f"header.{HEADER}", told)])
    return key


def operation_body(request: Request, outcome: Outcome) -> dict[str, Any]:
    """An operation's outcome as a document; its result beside its status."""
    known = {
        "operation_id": outcome.operation_id,
        "status": outcome.status,
        "status_url": url(request, f"/admin/operations/{outcome.operation_id}"),
    }
    if outcome.failed_steps:
        known["message"] = f"Failed at {', '.join(outcome.failed_steps)}; Airflow's log has why."
    elif not outcome.ended:
        known["message"] = WAITING
    return {**outcome.result, **known}


def actor(request: Request) -> Actor:
    """Who acts, for the audit log."""
    context = context_of(request.scope)
    return Actor(
        kind="root" if context.caller.kind is CallerKind.ROOT else "org_key",
        id=context.caller.key_id,
        request_id=context.request_id,
        address=context.address,
    )
