"""The OpenAPI document: current, complete, and the same wherever it is made."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from convergence.api import openapi
from convergence.api.http import document
from convergence.api.http.idempotency import HEADER
from support.api.openapi_contract import find_differences, reduce_document, resolve_document

ROOT = Path(__file__).resolve().parents[3]
BASELINE = Path(__file__).with_name("openapi_baseline.json")
COMMITTED = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(openapi.render_document())
    return loaded


def operations(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_committed_copy_is_current() -> None:
    assert COMMITTED.read_text() == openapi.render_document(), "run `make openapi`"


def test_it_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = openapi.render_document()
    monkeypatch.setenv("ENABLE_API_DOCS", "false")
    monkeypatch.setenv("CA_ROOT_API_KEY", "another-root-key-0123456789")
    assert openapi.render_document() == before
    assert "another-root-key" not in before


def test_every_operation_is_described_and_says_its_scope(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        public = operation["x-scope"] == "public"
        assert bool(operation["security"]) is not public, name


def test_every_text_in_a_query_says_what_it_may_hold(spec: dict[str, Any]) -> None:
    told = 0
    for name, operation in operations(spec):
        for parameter in operation.get("parameters", ()):
            schema = parameter["schema"]
            for choice in schema.get("anyOf", [schema]) if parameter["in"] == "query" else ():
                if choice.get("type") == "string":
                    assert {"pattern", "enum", "format"} & set(choice), (name, parameter["name"])
                    told += 1
    assert told > 10


def test_refusals_are_problem_documents(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        for status, response in operation["responses"].items():
            if status[0] in "45" and not (name == "get /health/ready" and status == "503"):
                assert list(response["content"]) == ["application/problem+json"], (name, status)
                assert response["content"]["application/problem+json"]["schema"] == {
                    "$ref": "#/components/schemas/Problem"
                }


def test_posts_that_need_a_key_take_an_idempotency_key(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        if name.startswith("post "):
            assert HEADER in [each["name"] for each in operation["parameters"]], name


def test_answers_are_typed(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        for status, response in operation["responses"].items():
            if status[0] == "2":
                schema = response["content"]["application/json"]["schema"]
                assert schema.get("$ref"), (name, status)


def test_every_operation_id_is_pinned(spec: dict[str, Any]) -> None:
    assert {operation["operationId"]: name for name, operation in operations(spec)} == {
        "get_health": "get /health",
        "get_readiness": "get /health/ready",
        "bootstrap_platform": "post /admin/bootstrap",
        "get_operation": "get /admin/operations/{operation_id}",
        "dry_run_onboarding": "post /organizations/dryrun",
        "onboard_organization": "post /organizations/onboard",
        "list_organizations": "get /organizations",
        "get_organization": "get /organizations/{org}",
        "remove_organization": "delete /organizations/{org}",
        "issue_api_key": "post /organizations/{org}/api-keys",
        "list_api_keys": "get /organizations/{org}/api-keys",
        "rotate_api_key": "post /organizations/{org}/api-keys/rotate",
        "revoke_api_key": "delete /organizations/{org}/api-keys/{key_id}",
        "set_subscription": "put /organizations/{org}/subscription",
        "connect_provider": "post /integrations/{org}/{provider}/setup",
        "validate_integration": "post /integrations/{org}/{provider}/validate",
        "list_integrations": "get /integrations/{org}",
        "get_integration": "get /integrations/{org}/{provider}",
        "disconnect_provider": "delete /integrations/{org}/{provider}",
        "list_prices": "get /integrations/{org}/{provider}/pricing",
        "set_price": "post /integrations/{org}/{provider}/pricing",
        "reset_prices": "post /integrations/{org}/{provider}/pricing/reset",
        "put_price": "put /integrations/{org}/{provider}/pricing/{model_id}",
        "end_price": "delete /integrations/{org}/{provider}/pricing/{model_id}",
        "list_plans": "get /integrations/{org}/{provider}/subscriptions",
        "set_plan": "post /integrations/{org}/{provider}/subscriptions",
        "reset_plans": "post /integrations/{org}/{provider}/subscriptions/reset",
        "put_plan": "put /integrations/{org}/{provider}/subscriptions/{plan_name}",
        "end_plan": "delete /integrations/{org}/{provider}/subscriptions/{plan_name}",
        "list_pipelines": "get /pipelines",
        "run_domain_pipeline": "post /pipelines/run/{org}/{provider}/{domain}/{pipeline}",
        "run_pipeline": "post /pipelines/run/{org}/{provider}/{pipeline}",
        "get_pipeline_config": "get /pipelines/config/{org}/{pipeline}",
        "set_pipeline_config": "put /pipelines/config/{org}/{pipeline}",
        "list_runs": "get /pipelines/runs/{org}",
        "get_run": "get /pipelines/runs/{org}/{run_id}",
        "cancel_run": "post /pipelines/runs/{org}/{run_id}/cancel",
        "enqueue_run": "post /scheduler/trigger",
        "list_queue": "get /scheduler/queue",
        "process_queue": "post /scheduler/queue/process",
        "get_quota": "get /quota/{org}",
        "get_costs": "get /costs/{org}",
        "get_reconciliation": "get /reconciliation/{org}",
    }


# The verbs with which a summary may begin: each is an imperative.
IMPERATIVES = {
    "Cancel",
    "Change",
    "Check",
    "Configure",
    "Connect",
    "Create",
    "Disconnect",
    "End",
    "Get",
    "Issue",
    "List",
    "Onboard",
    "Queue",
    "Remove",
    "Reset",
    "Revoke",
    "Rotate",
    "Run",
    "Set",
    "Start",
    "Validate",
}


def test_every_summary_is_an_imperative(spec: dict[str, Any]) -> None:
    for name, operation in operations(spec):
        verb, _, rest = operation["summary"].partition(" ")
        assert verb in IMPERATIVES, name
        assert rest, name
        assert not operation["summary"].endswith("."), name


def test_the_summaries_are_distinct(spec: dict[str, Any]) -> None:
    summaries = [operation["summary"] for _, operation in operations(spec)]
    assert len(set(summaries)) == len(summaries)


COSTS = r">paths>/costs/\{org\}>get>responses>200>content>application/json>schema"

# Where the document may differ from that of the first release, and why.
ALLOWED_DIFFERENCES = {
    r">paths>/costs/\{org\}>get>parameters": "Cost is filtered and paged; best is a basis.",
    r">paths>/costs/\{org\}>get>responses>304": "An unchanged response is not sent again.",
    COSTS
    + r">(required|properties>(basis>anyOf>0>enum|billing_months|coverage|next_page|row_count))": (
        "Coverage, invoices and pages are new; a basis is one of three."
    ),
    COSTS + r">properties>rows>items>(additionalProperties|required|properties>(basis>enum|"
    r"cost>deprecated|[a-z]+_cost|billing_month|charge_category|stream|sku|meter|api_key|user|"
    r"region|attribution))": "Rows have every amount and any dimension; tags are fields.",
    COSTS + r">properties>totals>items>(required|properties>(basis>enum|cost>deprecated|"
    r"[a-z]+_cost))": "Totals have every amount.",
    r">paths>/health>get>.*>(properties>provider_registry|required)": (
        "The probe returns the edition of the provider registry."
    ),
    r">paths>/pipelines/runs/.*>error>anyOf>0>properties>code>enum": (
        "The codes of run errors are listed."
    ),
    r">paths>/reconciliation/{org}": "It explains why bills differ from the computed cost.",
}


def test_the_contract_is_that_of_the_first_release(spec: dict[str, Any]) -> None:
    before = resolve_document(json.loads(BASELINE.read_text()))
    after = resolve_document(reduce_document(spec))
    differences = [path for path, _, _ in find_differences(before, after)]
    unexpected = [
        path for path in differences if not any(re.fullmatch(p, path) for p in ALLOWED_DIFFERENCES)
    ]
    assert unexpected == []
    unused = [
        p for p in ALLOWED_DIFFERENCES if not any(re.fullmatch(p, path) for path in differences)
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("RunPage", {"properties": {}}),
        ("QueueRequest", {"required": []}),
    ],
)
def test_a_changed_schema_is_found(
    spec: dict[str, Any], schema: str, change: dict[str, Any]
) -> None:
    before = resolve_document(reduce_document(spec))
    changed = reduce_document(spec)
    changed["components"]["schemas"][schema].update(change)
    assert list(find_differences(before, resolve_document(changed)))


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == document.VERSION
