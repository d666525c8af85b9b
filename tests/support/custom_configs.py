"""A folder of configurations of a test's own, with a vendor that the product has never heard of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from convergence.settings import PROJECT_ROOT

SHIPPED = PROJECT_ROOT / "include" / "configs"
VENDOR = "seats_vendor"
BASE = "https://api.seats.example/v1"
ENTRY: Mapping[str, Any] = {
    "name": "Seats",
    "table_id": "SEATS_VENDOR",
    "kind": "saas",
    "base_url": BASE,
    "auth": {"header": "X-API-Key"},
    "credentials": [{"form": "api_key", "pattern": r"vendor-\S+", "hint": "a key"}],
    "validation": {"path": "/account", "refusals": {"401": "unknown", "403": "not allowed"}},
    "lookback_days": 0,
    "data_tables": ["seats_users_raw", "seats_cost_daily"],
}
USERS_SCHEMA: Mapping[str, Any] = {
    "table": "seats_users_raw",
    "description": "Users of an organization at the vendor, as they were at the end of each day",
    "partition": {"field": "seen_on", "type": "DAY", "require_filter": False},
    "fields": [
        {"name": "seen_on", "type": "DATE", "mode": "REQUIRED", "description": "UTC day"},
        {"name": "id", "type": "INT64", "mode": "REQUIRED", "description": "User"},
        {"name": "name", "type": "STRING", "description": "Name"},
        {"name": "seats", "type": "INT64", "mode": "REQUIRED", "description": "Seats used"},
        {"name": "is_active", "type": "BOOL", "description": "Whether the user is active"},
        {"name": "created_on", "type": "DATE", "description": "First day"},
        {"name": "extra", "type": "JSON", "description": "Fields without a column"},
    ],
}


def make(folder: Path, files: Mapping[str, object] | None = None) -> Path:
    """Write the folder: the product's own settings, the vendor's entry and schema, and more.

    Args:
        folder: to be made.
        files: path → text, or an object that is written as YAML or JSON by its ending.
    """
    registry = yaml.safe_load((SHIPPED / "system" / "providers.yml").read_text())
    registry["providers"][VENDOR] = dict(ENTRY)
    own = {
        "system/providers.yml": registry,
        "seats_vendor/schemas/seats_users_raw.json": USERS_SCHEMA,
    }
    for name in ("setup", "notify_systems"):
        if (SHIPPED / name).is_dir():
            _link(folder / name, SHIPPED / name)
    for path in sorted((SHIPPED / "system").iterdir()):
        if path.name != "providers.yml":
            _link(folder / "system" / path.name, path)
    for name, content in {**own, **(files or {})}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_format_file(name, content), encoding="utf-8")
    return folder


def _link(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def _format_file(name: str, content: object) -> str:
    if isinstance(content, str):
        return content
    return json.dumps(content) if name.endswith(".json") else yaml.safe_dump(content)
