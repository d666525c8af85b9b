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
from convergence.api.platform import background_tasks
from convergence.tenants import key_digests
from integration.api.cases import CASES
from integration.api.conftest import ROOT
from integration.api.inhabited import Asks, Resident, inhabit, services_on
from processors_world import World
from sandbox_process import SandboxProcess
from unit.api.test_api_access import name
from unit.api.world import ROOT_KEY


@dataclass(frozen=True)
class Town:
    """The inhabited platform, and a header for every kind of key."""

    client: Asks
    world: World
    acme: Resident
    globex: Resident
    keys: dict[str, dict[str, str]]

    def ask(self, route: GuardedRoute, key: str, **changes: str) -> Any:
        """A route's sound request with a kind of key, on acme's objects but for the changes."""
        case = CASES[name(route)]
        query = dict(case.query)
        if name(route) == "DELETE /organizations/{org}":
            query["confirmation"] = changes.get("org", self.acme.slug)
        path = case.path(route.path, self.acme, **changes)
        sent = {} if case.body is None else {"json": case.body}
        method = next(iter(route.methods))
        return self.client.request(method, path, params=query, headers=self.keys[key], **sent)


@contextmanager
def settled(sandbox: SandboxProcess, folder: Path) -> Iterator[Town]:
    """The platform on a project of its own, with both residents in it."""
    world, services = services_on(sandbox, folder, project=f"town-{folder.name.replace('_', '-')}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background_tasks, "all_of", lambda _services: [])
        app = create_app(services=services)
        with TestClient(app, raise_server_exceptions=False) as client:
            acme, globex = inhabit(client, world)
            yield Town(client, world, acme, globex, _keys(client, world, acme, globex))
    world.services.store.close()


def _keys(
    client: Asks, world: World, acme: Resident, globex: Resident
) -> dict[str, dict[str, str]]:
    ended = {kind: _ended_key(client, world, acme, kind) for kind in ("expired", "revoked")}
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


def _ended_key(client: Asks, world: World, acme: Resident, kind: str) -> dict[str, str]:
    path = f"/organizations/{acme.slug}/api-keys"
    soon = {"not_after": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    told = client.post(path, headers=ROOT, json=soon).json()
    key_id = told["api_key_fingerprint"]["key_id"]
    if kind == "revoked":
        assert client.delete(f"{path}/{key_id}", headers=ROOT).json()["status"] == "REVOKED"
    else:
        past = "not_after = TIMESTAMP '2026-01-01'"
        world.ask(f"UPDATE organizations.org_api_keys SET {past} WHERE key_id = '{key_id}'")
        key_digests.refresh(world.services.store, world.warehouse)
    return {"X-API-Key": told["api_key"]}
