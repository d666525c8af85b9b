"""A SQL file reads its own org only: the linter, the DAG build and the run each refuse others."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from convergence.errors import ForeignTableError
from convergence.pipelines.files.all_violations import find_violations
from convergence.pipelines.files.loader import load_all
from convergence.pipelines.files.sql.files import check_sql_file, find_sql_files
from convergence.pipelines.files.sql.syntax import check_sql_syntax
from convergence.pipelines.lint import main
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.query import run_file
from stack.guarded import run
from support.fake_bigquery import FakeBigQuery, warehouse

SHIPPED = PROJECT_ROOT / "include" / "configs"
SQL = "example/finance/sql/subscription_costs.sql"
PIPELINE = "example/finance/subscription_costs_transform.yml"
DAG = "example.finance.subscription_costs_transform"
OWN = "`{{ project }}.{{ dataset }}.{{ subscriptions }}`"
READS = "{subscriptions: openai_subscriptions}"
FOREIGN = "acme_corp_dev.openai_cost_daily"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The shipped configurations, with one file that names another org's table."""
    folder = tmp_path / "configs"
    shutil.copytree(SHIPPED, folder)
    return folder


@pytest.fixture
def spoiled(root: Path) -> Path:
    path = root / SQL
    text = path.read_text()
    assert OWN in text
    path.write_text(text.replace(OWN, FOREIGN))
    return root


def write_file(folder: Path, text: str) -> Path:
    path = folder / "a.sql"
    path.write_text(text)
    return path


def errors(folder: Path, text: str) -> list[str]:
    path = write_file(folder, text)
    found = check_sql_file(path, folder) or check_sql_syntax(path, folder)
    return [str(violation) for violation in found]


# --- the three gates ----------------------------------------------------------------------------


def test_the_linter_refuses_a_literal_table_at_its_place(
    spoiled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(spoiled), "--short"]) == 1
    lines = capsys.readouterr().out.splitlines()
    line = next(
        number
        for number, text in enumerate((spoiled / SQL).read_text().splitlines(), start=1)
        if FOREIGN in text
    )
    at = (spoiled / SQL).read_text().splitlines()[line - 1].index(FOREIGN) + 1
    told = f"{SQL}:{line}:{at}: the table {FOREIGN} does not come from a placeholder; write "
    assert [text for text in lines if text.startswith(told)]
    assert [text for text in lines if text.startswith(PIPELINE) and "sql_file: " in text]
    assert lines[-1].endswith("2 errors in 2")


def test_the_linter_reports_a_syntax_error(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / SQL
    path.write_text("SELECT 1\nWHERE (")
    assert main(["--root", str(root), "--short", str(path)]) == 1
    assert f"{SQL}:2:" in capsys.readouterr().out


def test_a_dag_is_not_built_from_it_and_every_other_is(spoiled: Path) -> None:
    sound = load_all(SHIPPED)
    found = load_all(spoiled)
    assert set(sound.specs) - set(found.specs) == {DAG}
    assert [violation.path for violation in found.violations] == [PIPELINE]
    assert [violation.key for violation in found.violations] == ["steps[0].config.sql_file"]
    assert {violation.path for violation in find_violations(spoiled)} == {PIPELINE, SQL}


def test_a_file_that_changed_since_is_not_run(root: Path) -> None:
    """The DAG was built from a sound file; the task finds another."""
    fake = FakeBigQuery()
    path = root / SQL
    path.write_text(path.read_text().replace(OWN, FOREIGN))
    with pytest.raises(ForeignTableError, match=r"subscription_costs\.sql:\d+:\d+: the table acme"):
        run_file(
            warehouse(fake),
            path,
            identifiers={"dataset": "globex_dev", "subscriptions": "t", "destination": "d"},
        )
    assert not fake.jobs


def test_a_file_that_decides_by_the_org_is_not_run_for_it(root: Path) -> None:
    path = root / SQL
    chosen = "{% if dataset.startswith('globex') %}acme_corp_dev{% else %}{{ dataset }}{% endif %}"
    path.write_text(f"SELECT * FROM `{{{{ project }}}}.{chosen}.openai_cost_daily`")
    with pytest.raises(ForeignTableError, match="acme_corp_dev"):
        run_file(warehouse(FakeBigQuery()), path, identifiers={"dataset": "globex_dev"})


# --- a statement that several files share --------------------------------------------------------

PRICING = "openai/cost/sql/price_usage.sql"
SHARED = "system/sql/prices/price_usage.sql"


def test_a_foreign_table_in_a_block_is_reported_in_the_file_of_the_block(root: Path) -> None:
    path = root / PRICING
    path.write_text(path.read_text().replace("FROM split", f"FROM {FOREIGN}"))
    (found,) = check_sql_file(path, root)
    text = path.read_text().splitlines()[found.line - 1]
    assert text[found.column - 1 :] == FOREIGN
    assert (found.path, found.message[:17]) == (PRICING, "the table acme_co")


def test_a_foreign_table_in_a_shared_statement_is_reported_there_and_by_each_file_that_extends_it(
    root: Path,
) -> None:
    path = root / SHARED
    path.write_text(path.read_text().replace("FROM matches", f"FROM {FOREIGN}"))
    (shared,), (found,) = check_sql_file(path, root), check_sql_file(root / PRICING, root)
    assert (found.path, found.line) == (PRICING, 1)
    place = f"in {SHARED}:{shared.line}:{shared.column} with this file's blocks"
    assert found.message == f"{place}: {shared.message}"


def test_a_syntax_error_of_a_block_is_reported_in_its_line(root: Path) -> None:
    path = root / PRICING
    path.write_text(path.read_text().replace("FROM split", "FROM split WHERE WHERE"))
    (found,) = check_sql_syntax(path, root)
    assert found.path == PRICING
    assert found.line == path.read_text().splitlines().index("    FROM split WHERE WHERE") + 1


def test_a_parenthesis_that_a_block_leaves_open_is_reported_by_its_file(root: Path) -> None:
    path = root / PRICING
    path.write_text(path.read_text().replace("FROM split", "FROM split WHERE ("))
    (found,) = check_sql_syntax(path, root)
    assert (found.path, found.line) == (PRICING, 1)
    assert found.message.startswith(f"in {SHARED}:")


def test_a_block_that_the_shared_statement_does_not_have_is_reported(root: Path) -> None:
    path = root / PRICING
    path.write_text(path.read_text().replace("block names", "block name"))
    (found,) = check_sql_file(path, root)
    assert found.path == PRICING
    assert found.message.endswith("has no block name; did you mean names")
    assert found.line == path.read_text().splitlines().index("{% block name %}") + 1


def test_a_meter_of_a_column_that_the_cost_table_lacks_is_reported_at_its_key(root: Path) -> None:
    pipeline = root / "openai/cost/usage_cost.yml"
    meters = "\n      meters: [{quantity: input_token, rate: x_per_million, no_rate: no_rate_x}]"
    name = "table: openai_cost_daily"
    pipeline.write_text(pipeline.read_text().replace(name, name + meters))
    (found,) = load_all(root).violations
    assert found.key == "steps[1].config.meters[0].quantity"
    assert found.message.endswith("openai_cost_daily.json has no column input_token")


# --- forms --------------------------------------------------------------------------------------


def test_every_shipped_file_passes_both_readings() -> None:
    files = find_sql_files(SHIPPED)
    assert len(files) > 80
    for path in files:
        assert check_sql_file(path, SHIPPED) == ()
        assert check_sql_syntax(path, SHIPPED) == ()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM `{{ project }}.{{ org_slug }}_prod.openai_cost_daily`",
        "SELECT * FROM `{{ project }}.{{ destination }}.openai_cost_daily`",
        "SELECT * FROM `other-project.{{ dataset }}.openai_cost_daily`",
        "SELECT * FROM `{{ project }}.acme_corp_dev.{{ destination }}`",
        "SELECT * FROM {{ 'acme_corp_dev' }}.t",
        "SELECT * FROM `{{ project }}.{{ 'acme' ~ '_corp_dev' }}.t`",
        "{% set dataset = 'acme_corp_dev' %}SELECT * FROM `{{ project }}.{{ dataset }}.t`",
        "SELECT * FROM {% if destination %}acme_corp_dev.t{% else %}{{ dataset }}.t{% endif %}",
        "SELECT * FROM {% if destination %}{{ dataset }}.t{% else %}acme_corp_dev.t{% endif %}",
        "SELECT * FROM {% for s in sources %}acme_corp_dev.{{ s }}{% endfor %}",
        "SELECT 1 {% if destination == 'x' %}+ 1{% endif %}",
        "SELECT * FROM {{ dataset }}.t {% set x %}, acme_corp_dev.t {% endset %} {{ x }}",
    ],
)
def test_a_template_can_not_hide_a_foreign_table(text: str, tmp_path: Path) -> None:
    assert errors(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM `{{ project }}.{{ dataset }}.openai_cost_daily`",
        "SELECT * FROM {% for s in sources %}{{ dataset }}.{{ s }}, {% endfor %}{{ dataset }}.t",
        "{# FROM acme_corp_dev.t #}SELECT 1 -- FROM acme_corp_dev.t",
        "SELECT {{ destination }}.x FROM {{ dataset }}.t AS {{ destination }}",
        "SELECT 1 {% if window_columns %}, x{% endif %}",
    ],
)
def test_placeholders_loops_and_comments_pass(text: str, tmp_path: Path) -> None:
    assert errors(tmp_path, text) == []


def test_a_misspelt_placeholder_is_named(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, "SELECT *\nFROM `{{ project }}.{{ datset }}.t`")
    assert error.startswith("a.sql:2:6: the table {{ project }}.{{ datset }}.t does not come from")
    assert error.endswith("did you mean {{ dataset }}")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("SELECT 1,\n  x y z\nFROM t", "a.sql:2:7"),
        ("{% if a %}\nSELECT (1\n{% endif %}", "a.sql:"),
        ("SELECT *\nFROM `{{ project }}.{{ dataset }}.t`\nWHERE day == = 3", "a.sql:3:"),
        ("SELECT {{ unclosed", "a.sql:1:1: not a template"),
    ],
)
def test_a_syntax_error_has_its_line(text: str, place: str, tmp_path: Path) -> None:
    (error,) = errors(tmp_path, text)[:1]
    assert error.startswith(place), error


@pytest.mark.parametrize("name", ["dataset", "central", "project", "export_dataset"])
def test_reads_can_not_pass_a_table_as_a_dataset(name: str, root: Path) -> None:
    change_reads(root, f"{{subscriptions: openai_subscriptions, {name}: acme_corp_dev}}")
    violations = [
        violation for violation in load_all(root).violations if violation.path == PIPELINE
    ]
    assert [violation.message for violation in violations] == [
        f"{name} is a reserved name of every query"
    ]


def test_reads_can_not_name_another_dataset(root: Path) -> None:
    change_reads(root, '{subscriptions: "acme_corp_dev.openai_subscriptions"}')
    violations = [
        violation for violation in load_all(root).violations if violation.path == PIPELINE
    ]
    assert [violation.key for violation in violations] == ["steps[0].config.reads.subscriptions"]


def change_reads(root: Path, reads: str) -> None:
    text = (root / PIPELINE).read_text()
    assert READS in text
    (root / PIPELINE).write_text(text.replace(READS, reads))


def test_only_the_linter_imports_the_parser() -> None:
    code = (
        "import sys; from convergence.pipelines.files.all_violations import find_violations\n"
        "from convergence.settings import PROJECT_ROOT\n"
        "import convergence.warehouse.query\n"
        "assert find_violations(PROJECT_ROOT / 'include' / 'configs') == ()\n"
        "sys.exit('sqlglot' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT / "plugins")}
    done = run([sys.executable, "-c", code], env=environment, timeout=100)
    assert done.returncode == 0
