"""Routes of the platform: the bootstrap of the central dataset, and the state of operations."""

from __future__ import annotations

from fastapi.responses import JSONResponse

from convergence.api.airflow.operations import OperationKind
from convergence.api.http.dependencies import IdempotentCallDep, ServicesDep, UrlBuilderDep
from convergence.api.http.idempotency import PLATFORM
from convergence.api.http.models import OperationResponse
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.responses import (
    WAITING,
    build_operation_body,
    build_operation_result,
    respond,
)
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.api.platform.models import BootstrapRequest, BootstrapResponse
from convergence.settings import Environment
from convergence.tenants.datasets import describe_central_dataset

router = guarded_router(prefix="/admin", tag="platform")


@router.post(
    "/bootstrap",
    operation_id="bootstrap_platform",
    summary="Create the central dataset",
    response_model=BootstrapResponse,
    responses={202: {"model": BootstrapResponse, "description": WAITING}},
)
@require_scope(Scope.ADMIN)
async def bootstrap_platform(
    services: ServicesDep,
    call: IdempotentCallDep,
    build_url: UrlBuilderDep,
    body: BootstrapRequest | None = None,
) -> JSONResponse:
    """Create the dataset `organizations` with its tables and views.

    A repetition only adds the columns of a newer schema.
    """
    options = body or BootstrapRequest()
    if options.force_recreate_dataset:
        dataset = describe_central_dataset(services.settings).name
        _check_recreation(options, services.settings.environment, dataset)
    values = options.model_dump(exclude_none=True)
    async with call.claim_async({"call": "bootstrap", "body": values}) as claim:
        if claim.is_new:
            async with services.idempotency.exclusive(PLATFORM, "bootstrap"):
                state = await services.operations.run_operation(
                    OperationKind.BOOTSTRAP,
                    about="platform",
                    values=values,
                    seconds=services.settings.admin_call_wait_seconds,
                )
                claim.complete(build_operation_result(state, build_url))
    return respond(claim.result)


@router.get(
    "/operations/{operation_id}",
    operation_id="get_operation",
    summary="Get the status of a long-running operation",
)
@require_scope(Scope.ADMIN)
async def get_operation(
    services: ServicesDep, build_url: UrlBuilderDep, operation_id: str
) -> OperationResponse:
    """Return the status of a call whose response was 202, and its result once it has ended.

    It does not include a new organization's key: `POST organizations/{org}/api-keys` issues one.
    """
    state = await services.operations.get_state(operation_id)
    return OperationResponse(**build_operation_body(state, build_url))


def _check_recreation(options: BootstrapRequest, environment: Environment, dataset: str) -> None:
    if environment is Environment.PRODUCTION:
        message = "is not allowed in production"
        raise InvalidFieldsError([build_field_error("body.force_recreate_dataset", message)])
    if options.confirmation != dataset:
        message = f"must be {dataset}, the name of the dataset to be dropped"
        raise InvalidFieldsError([build_field_error("body.confirmation", message)])
