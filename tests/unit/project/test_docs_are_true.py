"""What README, CONTRIBUTING, SECURITY and docs/ name exists, and generated pages are current."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convergence.errors import ConvergenceError
from convergence.settings import Settings
from deploy.settings import AccountSettings, EntrySettings
from reference_pages.__main__ import render_pages
from reference_pages.configuration_page import read_variables
from reference_pages.errors_page import read_cause_and_remedy
from stack.settings import CeleryStackSettings

REPOSITORY = Path(__file__).resolve().parents[3]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
PAGES = (
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
)
# BigQuery's and DuckDB's own words, and placeholders, which look like variables.
_WORDS_OF_OTHERS = {"WRITE_TRUNCATE"}
_FOLDERS = "dags|plugins|include|sandbox|tools|scripts|tests|docs"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def _documented_variables() -> set[str]:
    page = (REPOSITORY / "docs" / "configuration.md").read_text()
    return set(re.findall(r"`([A-Z][A-Z0-9_]{3,})`", page))


@each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {first or second for first, second in named} - targets == set()


def test_every_make_target_has_a_line_of_help() -> None:
    phony = set(" ".join(re.findall(r"\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE)).split()) - {"\\"}
    explained = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert phony == explained


@each_page
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\((?!http|#)([^)#]+)[^)]*\)", text)
    quoted = re.findall(rf"`((?:{_FOLDERS})/[^`{{}}…*\s:]*)`", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in quoted if not (REPOSITORY / path).exists()]
    missing = [path for path in missing if "/fx/" not in path]  # the example of processors.md
    assert missing == []


@pytest.mark.parametrize("name", render_pages())
def test_a_generated_page_is_current(name: str) -> None:
    committed = (REPOSITORY / "docs" / name).read_text()
    assert committed == render_pages()[name], "run `make docs`"


def test_every_variable_of_the_settings_is_documented() -> None:
    models = (Settings, AccountSettings, EntrySettings, CeleryStackSettings)
    names = {name for model in models for one in read_variables(model) for name in one.names}
    assert names - _documented_variables() == set()


def test_every_variable_that_the_compose_file_takes_is_documented() -> None:
    compose = (REPOSITORY / "docker-compose.yaml").read_text()
    taken = set(re.findall(r"(?<!\$)\$\{([A-Z][A-Z0-9_]+)", compose))
    assert taken - _documented_variables() - {"AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"} == set()


def test_every_variable_that_a_page_names_is_documented() -> None:
    known = _documented_variables() | _WORDS_OF_OTHERS
    for page in PAGES:
        named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]{2,})`", page.read_text()))
        named = {name for name in named if not name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))}
        assert named - known == set(), page.name


def test_an_error_without_a_remedy_is_rejected() -> None:
    class CauseAloneError(ConvergenceError):
        """Raised when nothing says what to do."""

    with pytest.raises(ValueError, match="CauseAloneError"):
        read_cause_and_remedy(CauseAloneError)
