"""The platform itself: making the central dataset, and what became of long calls."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse

from convergence.api.airflow.operations import Operation
from convergence.api.http.idempotency import PLATFORM, Answer
from convergence.api.http.models import BootstrapAnswer, BootstrapRequest, OperationAnswer
from convergence.api.http.problems import InvalidFieldsError, fault
from convergence.api.http.responses import WAITING, idempotency_key, operation_body, respond
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.api.http.services import services_of
from convergence.settings import Environment
from convergence.tenants.datasets import describe_central_dataset

router = guarded_router(prefix="/admin", tag="platform")


@router.post(
    "/bootstrap",
    summary="Make the central dataset",
    response_model=BootstrapAnswer,
    responses={202: {"model": BootstrapAnswer, "description": WAITING}},
)
@needs(Scope.ADMIN)
async def bootstrap(request: Request, body: BootstrapRequest | None = None) -> JSONResponse:
    """Make the dataset `organizations` with its tables and views.

    Doing it again changes nothing but adds the columns of a newer schema.
    """
    services, asked = services_of(request), body or BootstrapRequest()
    if asked.force_recreate_dataset:
        _check_recreation(
            asked, services.settings.environment, describe_central_dataset(services.settings).name
        )
    wanted = asked.model_dump(exclude_none=True)

    async def work() -> Answer:
        outcome = await services.operations.run(
            Operation.BOOTSTRAP,
            about="platform",
            values=wanted,
            seconds=services.settings.admin_call_wait_seconds,
        )
        return Answer(200 if outcome.ended else 202, operation_body(request, outcome))

    async def alone() -> Answer:
        return await services.once.alone(PLATFORM, "bootstrap", work)

    return respond(
        await services.once.answer(
            PLATFORM,
            alone,
            given=idempotency_key(request),
            request={"call": "bootstrap", "body": wanted},
        )
    )


@router.get("/operations/{operation_id}", summary="What became of a long call")
@needs(Scope.ADMIN)
async def operation(request: Request, operation_id: str) -> OperationAnswer:
    """The status of a call that was answered 202, with its result once it has one.

    A new organization's key is not in it: `POST organizations/{org}/api-keys` gives that.
    """
    outcome = await services_of(request).operations.look(operation_id)
    return OperationAnswer(**operation_body(request, outcome))


def _check_recreation(asked: BootstrapRequest, environment: Environment, dataset: str) -> None:
    if environment is Environment.PRODUCTION:
        told = "is refused in production"
        raise InvalidFieldsError([fault("body.force_recreate_dataset", told)])
    if asked.confirmation != dataset:
        told = f"must be the name of the dataset that is dropped, {dataset}"
        raise InvalidFieldsError([fault("body.confirmation", told)])
