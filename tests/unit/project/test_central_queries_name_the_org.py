"""Every statement on a central table is bound to organizations by parameter, or is listed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

CONFIGS = Path(__file__).resolve().parents[3] / "include" / "configs"
CENTRAL = "central_dataset"
# What reads or marks rows of every organization, for the platform itself, with the reason.
PLATFORM = {
    "system/sql/runs/org_eligibility.sql": "the outer WHERE keeps the requested organizations",
    "system/sql/tenants/audit_newest.sql": "restores the state store for every organization",
    "system/sql/tenants/audit_orgs.sql": "lists whose chains `make audit-verify` checks",
    "system/sql/tenants/key_find.sql": "finds the organization of a key by the key's digest",
    "system/sql/tenants/keys_active.sql": "restores the state store for every organization",
    "system/sql/tenants/keys_used.sql": "marks keys by their unique ids",
    "system/sql/tenants/kms_outdated_orgs.sql": "lists whom `make rotate-kms` has left to do",
    "system/sql/tenants/orgs_list.sql": "the root key's list of organizations",
    "system/sql/tenants/pipeline_configs.sql": "restores the state store for every organization",
    "system/sql/tenants/queue_waiting.sql": "restores the state store for every organization",
    "system/sql/tenants/runs_newest.sql": "restores the state store for every organization",
}


def statements() -> dict[str, str]:
    """Each SQL file that names the central dataset, its placeholders filled in."""
    found = {}
    for path in sorted(CONFIGS.rglob("*.sql")):
        text = path.read_text()
        # The view of cost has statements of Jinja's own; it has a test of its own.
        if re.search(r"\{\{\s*central\s*\}\}", text) and "{%" not in text:
            filled = re.sub(r"\{\{\s*central\s*\}\}", CENTRAL, text)
            found[path.relative_to(CONFIGS).as_posix()] = re.sub(
                r"\{\{\s*(\w+)[^}]*\}\}", r"\1", filled
            )
    return found


def unbound(sql: str) -> Iterator[str]:
    """The central tables that a statement reads or changes for organizations it does not name."""
    for statement in sqlglot.parse(sql, dialect="bigquery"):
        assert statement is not None
        for table in statement.find_all(exp.Table):
            if table.db == CENTRAL and not _is_bound(table):
                yield table.name


def _is_bound(table: exp.Table) -> bool:
    owner = table.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Merge, exp.Insert)
    assert owner is not None
    if isinstance(owner, exp.Insert):
        # What is inserted carries its organization; what it is selected from is a Select.
        return True
    if isinstance(owner, exp.Merge):
        return _names_the_org(owner.args["on"], joined=True) or all(
            isinstance(when.args["then"], exp.Insert)
            or (when.args.get("condition") and _names_the_org(when.args["condition"]))
            for when in owner.find_all(exp.When)
        )
    conditions = [owner.args.get("where")]
    conditions += [join.args.get("on") for join in owner.args.get("joins") or []]
    return any(_names_the_org(each) for each in conditions if each is not None)


def _names_the_org(condition: exp.Expression, *, joined: bool = False) -> bool:
    for test in condition.find_all(exp.EQ, exp.In):
        columns = [column for column in test.find_all(exp.Column) if column.name == "org_slug"]
        # A view has its organization's name where a query has a parameter.
        named = test.find(exp.Parameter) or test.expression == exp.Literal.string("org_slug")
        if columns and (named or (joined and len(columns) == 2)) and _is_required(test):
            return True
    return False


def _is_required(test: exp.Predicate) -> bool:
    """Return whether only a parameter, such as `@every`, lets rows pass without the test."""
    either = test.find_ancestor(exp.Or)
    return either is None or isinstance(either.left, exp.Parameter)


@pytest.mark.parametrize(("path", "sql"), statements().items(), ids=statements())
def test_a_statement_on_a_central_table_names_its_organizations(path: str, sql: str) -> None:
    found = sorted(set(unbound(sql)))
    if path in PLATFORM:
        assert found, f"{path} names its organizations now; take it off the list"
    else:
        assert found == [], "add `org_slug = @org_slug`, or list the file with its reason"


def test_the_views_of_cost_read_the_orgs_dataset_only() -> None:
    folder = CONFIGS / "setup" / "organizations" / "onboarding" / "views"
    for name in ("cost_daily", "cost_daily_by_basis"):
        assert "{{ central }}" not in (folder / f"{name}.sql").read_text()
