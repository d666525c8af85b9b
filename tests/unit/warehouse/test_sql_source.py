"""A SQL file that extends a shared statement: one text, and each error in the file it is in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from google.api_core import exceptions as google_errors

from convergence.errors import ConfigurationError, WarehouseError
from convergence.warehouse.query import run_file
from convergence.warehouse.sql.rendering import render_marked, render_source
from convergence.warehouse.sql.source import SqlSource, SqlSourceError, read_source
from support.fake_bigquery import FakeBigQuery, warehouse

SHARED = """-- shared
WITH
  quantities AS (
    {% block quantities %}SELECT 1 AS n{% endblock %}
  ){% block names %}{% endblock %}
SELECT {% for meter in meters %}{{ meter.quantity }}, {% endfor %}n
FROM quantities
"""
OWN = """{% extends "system/sql/shared.sql" %}
-- What this vendor adds.
{% block quantities %}
SELECT
  2 AS n
FROM `{{ project }}.{{ dataset }}.usage`
{% endblock %}
"""


def source(folder: Path, own: str, shared: str = SHARED) -> SqlSource:
    (folder / "system/sql").mkdir(parents=True, exist_ok=True)
    (folder / "system/sql/shared.sql").write_text(shared)
    (folder / "own.sql").write_text(own)
    return read_source(folder / "own.sql", folder)


def test_a_file_that_extends_nothing_is_its_own_text(tmp_path: Path) -> None:
    found = source(tmp_path, "SELECT 1\n")
    assert found.text == "SELECT 1\n"
    assert str(found.place(7)) == "own.sql:1:8"


def test_a_block_takes_the_files_text_or_keeps_its_own(tmp_path: Path) -> None:
    found = source(tmp_path, OWN)
    assert "2 AS n" in found.text
    assert "1 AS n" not in found.text
    assert "{% block" not in found.text
    shared = read_source(tmp_path / "system/sql/shared.sql", tmp_path)
    assert "SELECT 1 AS n" in shared.text


def test_each_part_of_the_text_leads_back_to_its_file_and_line(tmp_path: Path) -> None:
    found = source(tmp_path, OWN)
    for text, place in {
        "WITH": "shared.sql:2:1",
        "2 AS n": "own.sql:5:3",
        "FROM `": "own.sql:6:1",
        "FROM quantities": "shared.sql:7:1",
    }.items():
        assert str(found.place(found.text.index(text))) == place
    assert str(found.extends_place) == "own.sql:1:1"


def test_the_filled_in_statement_leads_back_through_loops(tmp_path: Path) -> None:
    names = {
        "project": "p",
        "dataset": "acme_dev",
        "meters": [{"quantity": "one"}, {"quantity": "two"}],
    }
    rendering = render_marked(source(tmp_path, OWN), names)
    assert rendering.sql == render_source(rendering.source, names)
    assert "SELECT one, two, n" in rendering.sql
    assert str(rendering.place(rendering.sql.index("n\nFROM q"))) == "shared.sql:6:67"
    line = rendering.sql[: rendering.sql.index("2 AS n")].count("\n") + 1
    place = rendering.place_in_message(f"Unrecognized name: x at [{line}:3]")
    assert str(place) == "own.sql:5:3"
    assert rendering.place_in_message("Table not found") is None
    assert rendering.place_in_message("at [9999:1]") is None


def test_a_name_that_nobody_gives_is_an_error_at_its_line(tmp_path: Path) -> None:
    found = source(tmp_path, OWN)
    with pytest.raises(ConfigurationError, match=r"^shared\.sql:6:1: .*'meters' is undefined"):
        render_source(found, {"project": "p", "dataset": "d"})
    with pytest.raises(ConfigurationError, match=r"^own\.sql:6:1: .*'dataset' is undefined"):
        render_source(found, {"project": "p", "meters": []})


def test_a_broken_template_is_an_error_at_its_line(tmp_path: Path) -> None:
    found = source(tmp_path, OWN.replace("{{ dataset }}", "{{ dataset"))
    with pytest.raises(ConfigurationError, match=r"^own\.sql:6:1: "):
        render_source(found, {})


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (OWN.replace("block quantities", "block quantites"), "own.sql:3:1: .*mean quantities"),
        (OWN.replace("block quantities", "block x"), "own.sql:3:1: .* it has quantities, names"),
        (OWN.replace("shared.sql", "sharde.sql"), "own.sql:1:1: there is no file"),
        (OWN.replace("system/sql/", "../"), "own.sql:1:1: '../shared.sql' is not the path"),
        (OWN.replace("system/sql/", "/etc/"), "own.sql:1:1: '/etc/shared.sql' is not the path"),
        (OWN.replace("{% endblock %}", ""), "own.sql:3:1: the block quantities has no endblock"),
        (OWN + "{% endblock %}", "own.sql:8:1: this endblock closes no block"),
        (OWN.replace("  2 AS n", "{% block names %}"), "own.sql:5:1: close the block quantities"),
        (OWN + "{% block quantities %}{% endblock %}", "own.sql:8:1: the block quantities is th"),
        (OWN + "WHERE FALSE", "own.sql:8:1: move this into a block"),
        ("SELECT 1\n" + OWN, "own.sql:1:1: move this into a block"),
    ],
)
def test_files_that_do_not_fit_are_an_error_at_its_line(
    tmp_path: Path, own: str, message: str
) -> None:
    with pytest.raises(SqlSourceError, match=message) as raised:
        source(tmp_path, own)
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  # our own
    assert (str(again), again.place) == (str(raised.value), raised.value.place)


def test_a_shared_statement_may_not_extend_another(tmp_path: Path) -> None:
    with pytest.raises(SqlSourceError, match=r"own\.sql:1:1: .* a shared statement may not"):
        source(tmp_path, OWN, shared='{% extends "system/sql/other.sql" %}\n' + SHARED)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    import os

    before = source(tmp_path, OWN)
    shared = tmp_path / "system/sql/shared.sql"
    shared.write_text(SHARED.replace("-- shared", "-- changed"))
    os.utime(shared, ns=(1, 1))
    assert "-- changed" in read_source(before.path, tmp_path).text


def test_an_error_of_bigquery_names_the_file_and_line_of_its_place(tmp_path: Path) -> None:
    path = tmp_path / "own.sql"
    path.write_text(
        "SELECT {% for name in names %}{{ name }}, {% endfor %}\n  x\nFROM UNNEST([1])\n"
    )

    def refuse(_: object) -> list[dict[str, object]]:
        raise google_errors.BadRequest("Unrecognized name: x at [2:3]")

    fake = FakeBigQuery(answers={"own": refuse})
    with pytest.raises(WarehouseError) as raised:
        run_file(warehouse(fake), path, identifiers={"names": ["a", "b"]})
    assert raised.value.details["place"] == "own.sql:2:3"
