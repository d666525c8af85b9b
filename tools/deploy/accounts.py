"""`python -m deploy.accounts` makes Airflow's roles and accounts as the settings say.

It speaks to the database through Flask-AppBuilder's own security manager, so that no password is
on a command line. A password that changed is replaced; the service role is cut back to its table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import SecretStr, ValidationError

from deploy.settings import AccountSettings, read_account_settings

SERVICE_ROLE = "Convergence API"

# What the API calls of Airflow (`convergence.api.airflow`). FAB requires `can_edit` on a DAG of
# an account that starts or stops a run of it, so this account could also pause one; it can delete
# nothing and sees no connection, variable, log, code or account.
SERVICE_PERMISSIONS = (
    ("can_read", "DAGs"),
    ("can_edit", "DAGs"),
    ("can_read", "DAG Runs"),
    ("can_create", "DAG Runs"),
    ("can_edit", "DAG Runs"),
    ("can_read", "Task Instances"),
    ("can_read", "XComs"),
)


# Flask-AppBuilder's `SecurityManager`, as Airflow's FAB provider extends it; it has no types.
SecurityManager: TypeAlias = Any


@dataclass(frozen=True)
class Account:
    """One login and its only role."""

    username: str
    role: str
    password: SecretStr


class AccountError(Exception):
    """Raised when Airflow does not take an account; says which."""


def accounts(settings: AccountSettings) -> tuple[Account, ...]:
    """Return the three accounts of a deployment: admin, viewer, and the API itself."""
    return (
        Account(settings.airflow_admin_username, "Admin", settings.airflow_admin_password),
        Account(settings.airflow_viewer_username, "Viewer", settings.airflow_viewer_password),
        Account(settings.airflow_api_username, SERVICE_ROLE, settings.airflow_api_password),
    )


def establish(
    manager: SecurityManager,
    settings: AccountSettings,
    *,
    is_password: Callable[[str, str], bool],
) -> list[str]:
    """Make roles and accounts what they should be.

    `is_password` says whether a stored hash is that of a password: one that is unchanged is left
    alone, since replacing it ends the sessions of its account.

    Returns:
        What was done, a line per account.

    Raises:
        AccountError: a role is missing, or Airflow rejected an account.
    """
    manager.sync_roles()
    manager.bulk_sync_roles([{"role": SERVICE_ROLE, "perms": list(SERVICE_PERMISSIONS)}])
    _cut_back(manager)
    return [
        _establish_one(manager, each, domain=settings.airflow_accounts_domain, same=is_password)
        for each in accounts(settings)
    ]


def _cut_back(manager: SecurityManager) -> None:
    role = manager.find_role(SERVICE_ROLE)
    for permission in list(role.permissions):
        if (permission.action.name, permission.resource.name) not in SERVICE_PERMISSIONS:
            manager.remove_permission_from_role(role, permission)


def _establish_one(
    manager: SecurityManager, account: Account, *, domain: str, same: Callable[[str, str], bool]
) -> str:
    role = manager.find_role(account.role)
    if role is None:
        raise AccountError(f"Airflow has no role {account.role}")
    password = account.password.get_secret_value()
    user = manager.find_user(username=account.username)
    if user is None:
        name = (account.username, account.username.title(), "Convergence")
        email = f"{account.username}@{domain}"
        taken, outcome = manager.add_user(*name, email, role, password), "made"
    else:
        user.roles = [role]
        taken, outcome = manager.update_user(user), "kept"
        if taken and not same(user.password, password):
            taken, outcome = manager.reset_password(user.id, password), "given its new password"
    if not taken:
        raise AccountError(f"Airflow refused the account {account.username}")
    return f"{account.username}: {outcome}, {account.role}"


def main() -> int:
    """Establish the accounts of this environment.

    Returns:
        0, or 1 when a password is missing or Airflow rejected an account.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from werkzeug.security import check_password_hash

    try:
        settings = read_account_settings()
        with get_application_builder() as appbuilder:
            appbuilder.add_permissions(update_perms=True)
            done = establish(appbuilder.sm, settings, is_password=check_password_hash)
    except ValidationError as error:
        for violation in error.errors(include_input=False, include_url=False):
            print(f"{violation['loc'][0]}".upper() + f": {violation['msg']}", file=sys.stderr)
        return 1
    except AccountError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
