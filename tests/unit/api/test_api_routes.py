"""Every route of the API and the key that opens it, said once more by hand.

The matrix in `test_api_access` is made from the routes; this list is not, so that a route can
neither appear nor change its scope unnoticed.
"""

from __future__ import annotations

from convergence.api.http.scopes import Scope
from support.api.routes import PATH_VALUES, ROUTES

CASES = {
    "POST /admin/bootstrap": Scope.ADMIN,
    "GET /admin/operations/{operation_id}": Scope.ADMIN,
    "GET /costs/{org}": Scope.COSTS_READ,
    "GET /reconciliation/{org}": Scope.COSTS_READ,
    "GET /docs": Scope.PUBLIC,
    "GET /docs/assets/{asset}": Scope.PUBLIC,
    "GET /health": Scope.PUBLIC,
    "GET /health/ready": Scope.PUBLIC,
    "GET /integrations/{org}": Scope.INTEGRATIONS_READ,
    "DELETE /integrations/{org}/{provider}": Scope.INTEGRATIONS_WRITE,
    "GET /integrations/{org}/{provider}": Scope.INTEGRATIONS_READ,
    "GET /integrations/{org}/{provider}/pricing": Scope.INTEGRATIONS_READ,
    "POST /integrations/{org}/{provider}/pricing": Scope.INTEGRATIONS_WRITE,
    "POST /integrations/{org}/{provider}/pricing/reset": Scope.INTEGRATIONS_WRITE,
    "DELETE /integrations/{org}/{provider}/pricing/{model_id:path}": Scope.INTEGRATIONS_WRITE,
    "PUT /integrations/{org}/{provider}/pricing/{model_id:path}": Scope.INTEGRATIONS_WRITE,
    "POST /integrations/{org}/{provider}/setup": Scope.INTEGRATIONS_WRITE,
    "GET /integrations/{org}/{provider}/subscriptions": Scope.INTEGRATIONS_READ,
    "POST /integrations/{org}/{provider}/subscriptions": Scope.INTEGRATIONS_WRITE,
    "POST /integrations/{org}/{provider}/subscriptions/reset": Scope.INTEGRATIONS_WRITE,
    "DELETE /integrations/{org}/{provider}/subscriptions/{plan_name:path}": (
        Scope.INTEGRATIONS_WRITE
    ),
    "PUT /integrations/{org}/{provider}/subscriptions/{plan_name:path}": Scope.INTEGRATIONS_WRITE,
    "POST /integrations/{org}/{provider}/validate": Scope.INTEGRATIONS_WRITE,
    "GET /openapi.json": Scope.PUBLIC,
    "GET /organizations": Scope.ADMIN,
    "POST /organizations/dryrun": Scope.ADMIN,
    "POST /organizations/onboard": Scope.ADMIN,
    "DELETE /organizations/{org}": Scope.ADMIN,
    "GET /organizations/{org}": Scope.ADMIN,
    "GET /organizations/{org}/api-keys": Scope.ADMIN,
    "POST /organizations/{org}/api-keys": Scope.ADMIN,
    "POST /organizations/{org}/api-keys/rotate": Scope.ADMIN,
    "DELETE /organizations/{org}/api-keys/{key_id}": Scope.ADMIN,
    "PUT /organizations/{org}/subscription": Scope.ADMIN,
    "GET /pipelines": Scope.PIPELINES_READ,
    "GET /pipelines/config/{org}/{pipeline:path}": Scope.PIPELINES_READ,
    "PUT /pipelines/config/{org}/{pipeline:path}": Scope.PIPELINES_RUN,
    "POST /pipelines/run/{org}/{provider}/{domain}/{pipeline}": Scope.PIPELINES_RUN,
    "POST /pipelines/run/{org}/{provider}/{pipeline}": Scope.PIPELINES_RUN,
    "GET /pipelines/runs/{org}": Scope.PIPELINES_READ,
    "GET /pipelines/runs/{org}/{run_id}": Scope.PIPELINES_READ,
    "POST /pipelines/runs/{org}/{run_id}/cancel": Scope.PIPELINES_RUN,
    "GET /quota/{org}": Scope.PIPELINES_READ,
    "GET /redoc": Scope.PUBLIC,
    "GET /scheduler/queue": Scope.PIPELINES_READ,
    "POST /scheduler/queue/process": Scope.PIPELINES_RUN,
    "POST /scheduler/trigger": Scope.PIPELINES_RUN,
}


def test_every_route_is_a_case_and_opens_with_the_key_that_is_said_here() -> None:
    found = {f"{next(iter(route.methods))} {route.path}": route.scope for route in ROUTES}
    assert found == CASES


def test_every_parameter_of_a_path_has_a_value_in_the_matrix() -> None:
    for route in ROUTES:
        route.path.replace(":path", "").format(**PATH_VALUES, org="acme_corp")
