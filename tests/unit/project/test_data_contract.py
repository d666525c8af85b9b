"""The tables of an org's dataset are a public interface: no change of one goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from reference_pages.contract_tables import TABLES, VIEWS
from reference_pages.data_contract_page import CONFIGS, load_columns

PUBLISHED = Path(__file__).parents[2] / "data" / "project" / "published_columns.json"
# Columns that a release removed or changed, as `table.column`, with the changelog's reason.
CHANGED: dict[str, str] = {}
# Not in an organization's dataset, or examples.
_OTHERS = ("setup/bootstrap/", "example/")


def describe_columns(fields: Iterable[dict[str, Any]], prefix: str = "") -> Iterator[str]:
    """Yield each column with its type, those within structs too."""
    for field in fields:
        name = f"{prefix}{field['name']}"
        yield f"{name} {field['type']} {field.get('mode', 'NULLABLE')}"
        yield from describe_columns(field.get("fields", []), f"{name}.")


def read_current() -> dict[str, list[str]]:
    return {table.name: sorted(describe_columns(load_columns(table))) for table in TABLES}


def test_every_table_of_a_dataset_has_an_entry() -> None:
    files = {table.schema.partition("#")[0] for table in TABLES}
    schemas = {
        path.relative_to(CONFIGS).as_posix()
        for path in CONFIGS.rglob("schemas/*.json")
        if not path.relative_to(CONFIGS).as_posix().startswith(_OTHERS)
    }
    assert schemas - files == set(), "add the table to tools/reference_pages/contract_tables.py"


def test_every_view_of_a_dataset_has_an_entry() -> None:
    folder = CONFIGS / "setup" / "organizations" / "onboarding" / "views"
    assert {path.stem for path in folder.glob("*.sql")} - set(VIEWS) == set()


def test_a_published_column_stays_as_it_is() -> None:
    published: dict[str, list[str]] = json.loads(PUBLISHED.read_text())
    current = read_current()
    gone = {
        f"{table}.{column}"
        for table, columns in published.items()
        for column in set(columns) - set(current.get(table, []))
        if f"{table}.{column.partition(' ')[0]}" not in CHANGED
    }
    assert gone == set(), "a published column was removed or changed; see CHANGED"


def test_a_new_column_is_entered() -> None:
    published: dict[str, list[str]] = json.loads(PUBLISHED.read_text())
    new = {
        f"{table}.{column}"
        for table, columns in read_current().items()
        for column in set(columns) - set(published.get(table, []))
    }
    assert new == set(), f"run `make docs` and add the columns to {PUBLISHED.name}"
