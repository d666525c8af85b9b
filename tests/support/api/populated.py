"""The inhabited platform as tests find it: a client, its residents, and every kind of key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from convergence.api.app import create_app
from convergence.api.http.routing import GuardedRoute
from convergence.api.http.scopes import Scope
from convergence.api.platform import background_tasks
from convergence.tenants.api_keys import key_digests
from support.api.cases import CASES
from support.api.env import ROOT_KEY
from support.api.residents import ApiClient, Resident, connect_services, create_residents
from support.api.routes import ROUTES_BY_NAME, name_route
from support.api.sandbox_services import ROOT
from support.processor_env import ProcessorEnv
from support.sandbox_process import SandboxProcess


@dataclass(frozen=True)
class PopulatedApi:
    """The inhabited platform, and a header for every kind of key."""

    client: ApiClient
    env: ProcessorEnv
    acme: Resident
    globex: Resident
    keys: dict[str, dict[str, str]]

    def ask(self, route: GuardedRoute, key: str, **changes: str) -> Any:
        """A route's sound request with a kind of key, on acme's objects but for the changes."""
        case = CASES[name_route(route)]
        query = dict(case.query)
        if name_route(route) == "DELETE /organizations/{org}":
            query["confirmation"] = changes.get("org", self.acme.slug)
        path = case.path(route.path, self.acme, **changes)
        sent = {} if case.body is None else {"json": case.body}
        method = next(iter(route.methods))
        return self.client.request(method, path, params=query, headers=self.keys[key], **sent)

    def read_everything(self) -> dict[str, Any]:
        """Return everything that both residents and the platform can read."""
        seen: dict[str, Any] = {}
        for route in (ROUTES_BY_NAME[one] for one in CASES if one.startswith("GET ")):
            if route.scope is Scope.PUBLIC:
                continue
            for one, key in ((self.acme, "own"), (self.globex, "other")):
                caller = "root" if route.scope is Scope.ADMIN else key
                answer = self.ask(route, caller, org=one.slug, run_id=one.run_id)
                seen[f"{name_route(route)} {one.slug}"] = {**answer.json(), "request_id": ""}
        return seen


@contextmanager
def populate_api(sandbox: SandboxProcess, folder: Path) -> Iterator[PopulatedApi]:
    """The platform on a project of its own, with both residents in it."""
    env, services = connect_services(
        sandbox, folder, project=f"populated-{folder.name.replace('_', '-')}"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background_tasks, "list_tasks", lambda _services: [])
        app = create_app(services=services)
        with TestClient(app, raise_server_exceptions=False) as client:
            acme, globex = create_residents(client, env)
            yield PopulatedApi(client, env, acme, globex, _keys(client, env, acme, globex))
    env.services.store.close()


def _keys(
    client: ApiClient, env: ProcessorEnv, acme: Resident, globex: Resident
) -> dict[str, dict[str, str]]:
    ended = {kind: _ended_key(client, env, acme, kind) for kind in ("expired", "revoked")}
    return {
        "none": {},
        "root": ROOT,
        "admin": {"X-Admin-Key": ROOT_KEY},
        "own": acme.headers,
        "other": globex.headers,
        **ended,
        "malformed": {"X-API-Key": f"{acme.slug}_api_tooshort"},
        "both": {**ROOT, **acme.headers},
    }


def _ended_key(client: ApiClient, env: ProcessorEnv, acme: Resident, kind: str) -> dict[str, str]:
    path = f"/organizations/{acme.slug}/api-keys"
    soon = {"not_after": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    told = client.post(path, headers=ROOT, json=soon).json()
    key_id = told["api_key_fingerprint"]["key_id"]
    if kind == "revoked":
        assert client.delete(f"{path}/{key_id}", headers=ROOT).json()["status"] == "REVOKED"
    else:
        past = "not_after = TIMESTAMP '2026-01-01'"
        env.ask(f"UPDATE organizations.org_api_keys SET {past} WHERE key_id = '{key_id}'")
        key_digests.refresh_digests(env.services.store, env.warehouse)
    return {"X-API-Key": told["api_key"]}
