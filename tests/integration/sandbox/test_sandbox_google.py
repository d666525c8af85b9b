"""Google's stand-in over HTTP: who gets a token, what it opens, and how an export grows."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from convergence.providers.google import BIGQUERY, ServiceAccount
from convergence_sandbox.providers.google.accounts import (
    make_token,
    project_of,
    read_token,
    service_account,
)
from convergence_sandbox.providers.google.billing import export_rows
from support.sandbox_process import SandboxProcess

HOUR = timedelta(hours=1)


def grant(seed: str, **more: str) -> dict[str, str]:
    key = service_account(seed) | more
    return dict(ServiceAccount.parse(json.dumps(key)).grant([BIGQUERY], now=datetime.now(UTC)))


def token(sandbox: SandboxProcess, form: dict[str, str]) -> httpx.Response:
    return httpx.post(f"{sandbox.providers}/google/token", data=form)


def bearer(seed: str, *, age: float = 0) -> dict[str, str]:
    return {"authorization": f"Bearer {make_token(project_of(seed), now=time.time() - age)}"}


def datasets(sandbox: SandboxProcess, project: str, headers: dict[str, str]) -> int:
    url = f"{sandbox.bigquery}/bigquery/v2/projects/{project}/datasets"
    return httpx.get(url, headers=headers).status_code


def export(sandbox: SandboxProcess, **body: Any) -> dict[str, Any]:
    told: dict[str, Any] = sandbox.admin("POST", "google/billing_exports", body).json()
    return told


def test_a_key_is_the_same_wherever_it_is_asked_for(sandbox: SandboxProcess) -> None:
    url = f"{sandbox.providers}/_sandbox/google/service_accounts/acme_corp"
    assert httpx.get(url).json() == service_account("acme_corp")
    assert service_account("acme_corp") != service_account("beta_labs")


def test_a_signed_grant_gives_a_token_of_its_project(sandbox: SandboxProcess) -> None:
    told = token(sandbox, grant("acme_corp")).json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 3599)
    found = read_token(told["access_token"], now=time.time())
    assert found is not None
    assert (found.project, found.expired) == (project_of("acme_corp"), False)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "unsupported_grant_type"),
        (grant("acme_corp") | {"assertion": "a.b.c"}, "invalid_grant"),
        (grant("acme_corp", private_key=service_account("other")["private_key"]), "invalid_grant"),
        (grant("acme_corp", client_email="a@b.iam.gserviceaccount.com"), "invalid_grant"),
    ],
)
def test_any_other_grant_is_refused(
    sandbox: SandboxProcess, form: dict[str, str], error: str
) -> None:
    answer = token(sandbox, form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_project_is_open_to_its_own_token_and_to_no_other(sandbox: SandboxProcess) -> None:
    project = project_of("acme_corp")
    assert datasets(sandbox, project, bearer("acme_corp")) == 200
    assert datasets(sandbox, project, {}) == 401
    assert datasets(sandbox, project, {"authorization": "Bearer ya29.sandbox.x"}) == 401
    assert datasets(sandbox, project, bearer("acme_corp", age=3601)) == 401
    assert datasets(sandbox, project, bearer("beta_labs")) == 403
    assert datasets(sandbox, "local-dev-project", bearer("acme_corp")) == 403
    assert datasets(sandbox, "local-dev-project", {}) == 200


def test_pages_of_accounts_end_without_a_token(sandbox: SandboxProcess) -> None:
    url, names, params = f"{sandbox.providers}/google/v1/billingAccounts", [], {"pageSize": "2"}
    while True:
        page = httpx.get(url, headers=bearer("acme_corp"), params=params).json()
        names += [row["name"] for row in page["billingAccounts"]]
        if "nextPageToken" not in page:
            break
        params["pageToken"] = page["nextPageToken"]
    assert len(set(names)) == len(names) == 3
    assert httpx.get(url, headers=bearer("acme-empty")).json() == {}
    assert httpx.get(url, headers=bearer("acme-norights")).status_code == 403
    assert httpx.get(url).status_code == 401
    wrong = httpx.get(url, headers=bearer("acme_corp"), params={"pageToken": "x"})
    assert wrong.status_code == 400


def test_an_export_grows_as_time_goes_and_never_twice(sandbox: SandboxProcess) -> None:
    days = {"seed": "grows", "first_day": "2026-10-01", "last_day": "2026-10-20"}
    first = export(sandbox, **days, as_of="2026-10-15T00:00:00Z")
    assert export(sandbox, **days, as_of="2026-10-15T00:00:00Z")["rows_added"] == 0
    later = export(sandbox, **days, as_of="2026-12-31T00:00:00Z")
    project = project_of("grows")
    every = [
        row
        for back in range(20)
        for row in export_rows(project, datetime(2026, 10, 1, tzinfo=UTC).date() + back * 24 * HOUR)
    ]
    assert first["rows_added"] + later["rows_added"] == len(every)
    assert first["rows_added"] > 50 < later["rows_added"]
    assert {row["cost_type"] for row in every} > {"regular", "tax", "rounding_error"}
    corrected = [row for row in every if row["adjustment_info"] and row["cost_type"] == "regular"]
    assert sum(row["cost"] for row in corrected) < 0
    for row in corrected:
        assert row["invoice"]["month"] >= row["usage_start_time"][:7].replace("-", "")


def test_what_makes_no_export_is_told(sandbox: SandboxProcess) -> None:
    for body in ({}, {"seed": "a", "first_day": "soon", "last_day": "2026-10-20"}):
        url = f"{sandbox.bigquery}/_sandbox/google/billing_exports"
        assert httpx.post(url, json=body).status_code == 400
