from __future__ import annotations

import re
from pathlib import Path

from convergence.settings import Settings
from stack.settings import CeleryStackSettings, StackSettings

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()


def _variables(model: type[Settings | StackSettings]) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        if alias is None:
            names.add(name.upper())
        elif isinstance(alias, str):
            names.add(alias)
        else:
            names |= {str(choice) for choice in getattr(alias, "choices", ())}
    return names


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {first or second for first, second in named} - targets == set()


def test_every_make_target_has_a_line_of_help() -> None:
    phony = set(" ".join(re.findall(r"\.PHONY: ((?:.*\\\n)*.*)", MAKEFILE)).split()) - {"\\"}
    told = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    assert phony == told


def test_every_variable_that_the_readme_names_is_read_somewhere() -> None:
    named = set(re.findall(r"`([A-Z][A-Z_]{3,})`", README))
    known = _variables(Settings) | _variables(StackSettings) | _variables(CeleryStackSettings)
    known |= {"CONFORMANCE_BIGQUERY_PROJECT", "CONVERGENCE_PRELOAD", "SECRETS_DIR"}
    assert named - known == set()


def test_every_path_that_the_readme_names_exists() -> None:
    linked = re.findall(r"\]\((?!http)([^)]+)\)", README)
    quoted = re.findall(r"`((?:dags|plugins|include|sandbox|tools|tests|docs)/[^`{}…]*)`", README)
    missing = [path for path in {*linked, *quoted} if not (REPOSITORY / path).exists()]
    assert missing == []
