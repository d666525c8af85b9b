"""The catalogue in docs/: made of what is there, and current."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convergence.errors import ConfigurationError
from convergence.pipelines import catalogue
from convergence.pipelines.files.loader import load_all
from convergence.settings import PROJECT_ROOT
from stack import guarded
from support.sample_pipelines import USAGE_COST, write

DOCUMENT = f"# Readme\n\n{catalogue.BEGIN}\nSTALE\n{catalogue.END}\n\nmore\n"


def test_the_committed_catalogue_is_current() -> None:
    # In a process of its own: the tests' processors are no part of the catalogue.
    done = guarded.run(
        [sys.executable, "-m", "convergence.pipelines.catalogue", "--check"],
        cwd=PROJECT_ROOT / "plugins",
        timeout=110,
    )
    assert done.returncode == 0, done.stderr


def test_a_line_says_what_it_does_where_and_what_it_fills(tmp_path: Path) -> None:
    write(tmp_path, "sample/cost/usage_cost.yml", USAGE_COST)
    text = catalogue.render_catalogue(list(load_all(tmp_path).specs.values()))
    line = (
        "| `sample.fetch` | Fetches usage, page by page | `sample/cost/usage_cost.yml` daily |"
        " `sample_usage_daily_raw` |"
    )
    assert line in text.splitlines()
    assert "| `sample.prepare` | Prepares the platform | - | - |" in text.splitlines()


def test_writing_makes_a_document_current_and_leaves_the_rest(tmp_path: Path) -> None:
    readme, configs = tmp_path / "README.md", tmp_path / "configs"
    readme.write_text(DOCUMENT)
    configs.mkdir()
    options = ["--path", str(readme), "--configs", str(configs)]
    assert catalogue.main([*options, "--check"]) == 1
    assert catalogue.main(options) == 0
    assert catalogue.main([*options, "--check"]) == 0
    text = readme.read_text()
    assert text.startswith("# Readme\n\n")
    assert text.endswith("\n\nmore\n")
    assert "STALE" not in text


@pytest.mark.parametrize("document", ["", catalogue.BEGIN, catalogue.END, DOCUMENT * 2])
def test_a_document_without_one_place_for_it_is_refused(document: str) -> None:
    with pytest.raises(ConfigurationError, match="both marks of the catalogue"):
        catalogue.insert_catalogue(document, "new")
