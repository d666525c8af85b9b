"""Every SQL file that ships is a script to Google's own parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from convergence.pipelines.files.sql.specimen import render_specimens
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.sql.source import read_source
from support.googlesql import SyntaxViolationError, parse_script

SHIPPED = PROJECT_ROOT / "include" / "configs"
FILES = sorted(SHIPPED.rglob("*.sql"))

# The parser's first use compiles it, unless `make setup-dev` did.
pytestmark = pytest.mark.timeout(900)


def test_there_are_files_to_parse() -> None:
    assert len(FILES) > 70


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SHIPPED).as_posix())
def test_googlesql_parses_what_ships(path: Path) -> None:
    rendered = [each.sql for each in render_specimens(read_source(path, SHIPPED))]
    assert rendered
    for sql in rendered:
        parse_script(sql)


@pytest.mark.parametrize(
    "sql", ["SELEC 1", "SELECT 1 FROM", "MERGE t USING s ON TRUE", "SELECT a b c FROM t"]
)
def test_googlesql_rejects_what_is_no_sql(sql: str) -> None:
    with pytest.raises(SyntaxViolationError):
        parse_script(sql)
