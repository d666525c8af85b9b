from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.accounts import SERVICE_PERMISSIONS, SERVICE_ROLE, AccountError, establish
from deploy.settings import AccountSettings

SETTINGS = AccountSettings(
    airflow_admin_password="admin-password",
    airflow_viewer_password="viewer-password",
    airflow_api_password="service-password",
)


def _permission(action: str, resource: str) -> Any:
    return SimpleNamespace(
        action=SimpleNamespace(name=action), resource=SimpleNamespace(name=resource)
    )


@dataclass
class Accounts:
    """Flask-AppBuilder's security manager, as far as it is used; hashes are reversed passwords."""

    roles: dict[str, Any] = field(default_factory=dict)
    users: dict[str, Any] = field(default_factory=dict)
    resets: list[str] = field(default_factory=list)

    def sync_roles(self) -> None:
        for name in ("Admin", "Viewer"):
            self.roles.setdefault(name, SimpleNamespace(name=name, permissions=[]))

    def bulk_sync_roles(self, roles: list[dict[str, Any]]) -> None:
        for each in roles:
            role = self.roles.setdefault(
                each["role"], SimpleNamespace(name=each["role"], permissions=[])
            )
            for action, resource in each["perms"]:
                if (action, resource) not in self.held(each["role"]):
                    role.permissions.append(_permission(action, resource))

    def held(self, role: str) -> set[tuple[str, str]]:
        return {(each.action.name, each.resource.name) for each in self.roles[role].permissions}

    def find_role(self, name: str) -> Any:
        return self.roles.get(name)

    def remove_permission_from_role(self, role: Any, permission: Any) -> None:
        role.permissions.remove(permission)

    def find_user(self, username: str) -> Any:
        return self.users.get(username)

    def add_user(self, username: str, *names: Any) -> Any:
        _first, _last, email, role, password = names
        self.users[username] = SimpleNamespace(
            id=len(self.users), email=email, roles=[role], password=password[::-1]
        )
        return self.users[username]

    def update_user(self, user: Any) -> bool:
        return user in self.users.values()

    def reset_password(self, userid: int, password: str) -> bool:
        name = next(name for name, user in self.users.items() if user.id == userid)
        self.users[name].password = password[::-1]
        self.resets.append(name)
        return True


def _establish(manager: Accounts, settings: AccountSettings = SETTINGS) -> list[str]:
    return establish(manager, settings, is_password=lambda kept, given: kept == given[::-1])


def test_each_account_has_its_one_role() -> None:
    manager = Accounts()
    _establish(manager)
    roles = {name: [role.name for role in user.roles] for name, user in manager.users.items()}
    assert roles == {"admin": ["Admin"], "viewer": ["Viewer"], "convergence": [SERVICE_ROLE]}


def test_the_service_role_is_cut_back_to_trigger_cancel_and_read() -> None:
    manager = Accounts()
    wide = [{"role": SERVICE_ROLE, "perms": [("can_read", "Connections"), ("can_read", "DAGs")]}]
    manager.bulk_sync_roles(wide)
    _establish(manager)
    assert manager.held(SERVICE_ROLE) == set(SERVICE_PERMISSIONS)
    assert not any(action == "can_delete" for action, _ in SERVICE_PERMISSIONS)
    resources = {resource for _, resource in SERVICE_PERMISSIONS}
    assert resources == {"DAGs", "DAG Runs", "Task Instances", "XComs"}


def test_an_account_that_was_given_more_loses_it() -> None:
    manager = Accounts()
    _establish(manager)
    manager.users["viewer"].roles = [manager.roles["Viewer"], manager.roles["Admin"]]
    _establish(manager)
    assert [role.name for role in manager.users["viewer"].roles] == ["Viewer"]


def test_only_a_password_that_changed_is_replaced() -> None:
    manager = Accounts()
    _establish(manager)
    _establish(manager)
    assert manager.resets == []
    _establish(manager, SETTINGS.model_copy(
        update={"airflow_viewer_password": SETTINGS.airflow_api_password}
    ))  # fmt: skip
    assert manager.resets == ["viewer"]
    assert manager.users["viewer"].password == "service-password"[::-1]


def test_a_refused_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Accounts()
    monkeypatch.setattr(manager, "add_user", lambda *_names: False)
    with pytest.raises(AccountError, match="refused the account admin"):
        _establish(manager)


def test_a_short_password_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 12"):
        AccountSettings(
            airflow_admin_password="short",
            airflow_viewer_password="viewer-password",
            airflow_api_password="service-password",
        )
