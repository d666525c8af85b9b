"""Every route with what it takes, said by hand: the matrix and the bad inputs are made of these.

`test_api_matrix` fails while a route of the app has no case here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.api.residents import DAY, Resident

MISSING = {
    "org": "no_such_org",
    "provider": "nobody",
    "domain": "nothing",
    "pipeline": "nothing",
    "run_id": "run_0123456789abcdef01234567",
    "key_id": "key_0123456789abcdef",
    "operation_id": "bootstrap__platform__20260101T000000__00000000",
    "model_id": "no-such-model",
    "plan_name": "NO_SUCH_PLAN",
}
_RATE = {"effective_from": "2026-02-01", "input_per_million": "1", "output_per_million": "2"}
_SEATS = {"effective_from": "2026-02-01", "price_per_seat": "25", "seats": 3}
_ORG = {"org_slug": "initech", "company_name": "Initech", "admin_email": "cfo@initech.example"}


@dataclass(frozen=True)
class Case:
    """A request that is sound, and what it is answered.

    Attributes:
        own: status for who may, on an object that is there; each status is one time.
        body: its JSON, or None.
        query: its parameters.
        params: parameters of its path but the organization and the resident's own ids.
        ids: parameters of the path that name an object, which can be another's or missing.
    """

    own: tuple[int, ...] = (200, 200)
    body: Any = None
    query: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def path(self, template: str, one: Resident, **changes: str) -> str:
        """The address of the resident's own object, with the changes."""
        values = {
            "org": one.slug,
            "provider": "openai",
            "run_id": one.run_id,
            "key_id": one.key_id,
            **self.params,
            **changes,
        }
        return template.replace(":path", "").format(**values)


_OPENAI = "/integrations/{org}/{provider}"
_RUN = "/pipelines/run/{org}/{provider}"
# What ends something comes last: the matrix asks in this order.
CASES = {
    "GET /health": Case(),
    "GET /health/ready": Case(own=(200, 200)),
    "GET /docs": Case(),
    "GET /docs/assets/{asset}": Case(params={"asset": "swagger-ui.css"}),
    "GET /redoc": Case(),
    "GET /openapi.json": Case(),
    "POST /admin/bootstrap": Case(body={}),
    "GET /admin/operations/{operation_id}": Case(own=(404, 404), params={"operation_id": "x"}),
    "POST /organizations/dryrun": Case(body=_ORG),
    "POST /organizations/onboard": Case(own=(200, 409), body=_ORG),
    "GET /organizations": Case(),
    "GET /organizations/{org}": Case(ids=("org",)),
    "PUT /organizations/{org}/subscription": Case(body={"status": "ACTIVE"}, ids=("org",)),
    "GET /organizations/{org}/api-keys": Case(ids=("org",)),
    "GET /pipelines": Case(),
    "GET /pipelines/config/{org}/{pipeline:path}": Case(
        params={"pipeline": "openai-usage-cost"}, ids=("pipeline",)
    ),
    "PUT /pipelines/config/{org}/{pipeline:path}": Case(
        body={"enabled": True}, params={"pipeline": "openai-usage-cost"}, ids=("pipeline",)
    ),
    f"POST {_RUN}/{{domain}}/{{pipeline}}": Case(
        own=(202, 202),
        body={"date": DAY},
        params={"domain": "cost", "pipeline": "usage_cost"},
        ids=("provider", "domain", "pipeline"),
    ),
    f"POST {_RUN}/{{pipeline}}": Case(
        own=(202, 202), body={}, params={"pipeline": "seed_csv"}, ids=("provider", "pipeline")
    ),
    "GET /pipelines/runs/{org}": Case(query={"limit": "5"}),
    "GET /pipelines/runs/{org}/{run_id}": Case(ids=("run_id",)),
    "POST /scheduler/trigger": Case(
        own=(202, 202), body={"pipeline": "openai/cost/usage_cost", "date": DAY}
    ),
    "GET /scheduler/queue": Case(query={"limit": "5"}),
    "POST /scheduler/queue/process": Case(),
    "GET /quota/{org}": Case(),
    "GET /costs/{org}": Case(query={"group_by": "day,model"}),
    "GET /reconciliation/{org}": Case(query={"group_by": "stream,reason"}),
    "GET /integrations/{org}": Case(),
    f"GET {_OPENAI}": Case(ids=("provider",)),
    f"POST {_OPENAI}/setup": Case(
        body={"credential": "sk-admin-sandbox-acme_corp", "credential_name": "Finance"},
        ids=("provider",),
    ),
    f"POST {_OPENAI}/validate": Case(ids=("provider",)),
    f"GET {_OPENAI}/pricing": Case(ids=("provider",)),
    f"POST {_OPENAI}/pricing": Case(body={"model_id": "gpt-5", **_RATE}, ids=("provider",)),
    f"PUT {_OPENAI}/pricing/{{model_id:path}}": Case(
        body=_RATE, params={"model_id": "gpt-5"}, ids=("provider",)
    ),
    f"DELETE {_OPENAI}/pricing/{{model_id:path}}": Case(
        own=(200, 404), params={"model_id": "gpt-5"}, ids=("provider", "model_id")
    ),
    f"POST {_OPENAI}/pricing/reset": Case(ids=("provider",)),
    f"GET {_OPENAI}/subscriptions": Case(ids=("provider",)),
    f"POST {_OPENAI}/subscriptions": Case(body={"plan_name": "TEAM", **_SEATS}, ids=("provider",)),
    f"PUT {_OPENAI}/subscriptions/{{plan_name:path}}": Case(
        body=_SEATS, params={"plan_name": "TEAM"}, ids=("provider",)
    ),
    f"DELETE {_OPENAI}/subscriptions/{{plan_name:path}}": Case(
        own=(200, 404), params={"plan_name": "TEAM"}, ids=("provider", "plan_name")
    ),
    f"POST {_OPENAI}/subscriptions/reset": Case(ids=("provider",)),
    "POST /pipelines/runs/{org}/{run_id}/cancel": Case(own=(200, 409), ids=("run_id",)),
    f"DELETE {_OPENAI}": Case(own=(200, 404), ids=("provider",)),
    "POST /organizations/{org}/api-keys/rotate": Case(
        own=(200, 409), body={"overlap_seconds": 3600}, ids=("org",)
    ),
    "DELETE /organizations/{org}/api-keys/{key_id}": Case(ids=("key_id", "org")),
    "POST /organizations/{org}/api-keys": Case(own=(200, 409), body={}, ids=("org",)),
    "DELETE /organizations/{org}": Case(query={"data": "delete"}, ids=("org",)),
}
