"""The files that docs/adding-a-provider.md lists are those of the providers that exist."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "adding-a-provider.md").read_text()
_SEARCHED = ("plugins", "dags", "include/configs", "tools", "sandbox/src")
_TEXT_SUFFIXES = {".py", ".yml", ".yaml", ".json", ".sql", ".csv", ".toml"}

# Files that name every provider without being a step of adding one.
_GENERATED_OR_PROSE = {
    "include/configs/pipeline.schema.json": "written by `make schema`",
    "include/configs/setup/bootstrap/schemas/org_integration_credentials.json": "an example",
    "include/configs/setup/bootstrap/schemas/org_pipeline_configs.json": "an example",
    "include/configs/setup/bootstrap/schemas/org_pipeline_execution_queue.json": "an example",
    "plugins/convergence/extract/buckets.py": "names the providers that page this way",
}
# The first providers have variables of their own; later ones use PROVIDER_BASE_URLS.
_ONLY_FIRST_LLM_PROVIDERS = {
    "docker-compose.yaml",
    "plugins/convergence/settings.py",
    "tools/stack/environment.py",
}


def _listed(section: str) -> list[str]:
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)


def _files() -> list[Path]:
    found = [REPOSITORY / "docker-compose.yaml"]
    for folder in _SEARCHED:
        found += [p for p in (REPOSITORY / folder).rglob("*") if p.suffix in _TEXT_SUFFIXES]
    return found


def _naming(provider: str) -> set[str]:
    """The files whose path or text names the provider, relative to the repository."""
    word = re.compile(rf"(?<![a-z]){provider}(?![a-z])", re.IGNORECASE)
    return {
        path.relative_to(REPOSITORY).as_posix()
        for path in _files()
        if word.search(path.relative_to(REPOSITORY).as_posix()) or word.search(path.read_text())
    }


@pytest.mark.parametrize(
    ("section", "provider", "ignored"),
    [
        ("An LLM provider", "anthropic", _ONLY_FIRST_LLM_PROVIDERS),
        ("A cloud", "aws", set[str]()),
    ],
)
def test_every_file_that_names_an_existing_provider_is_listed(
    section: str, provider: str, ignored: set[str]
) -> None:
    patterns = [pattern.replace("{provider}", provider) for pattern in _listed(section)]
    unlisted = {
        path
        for path in _naming(provider) - ignored - _GENERATED_OR_PROSE.keys()
        if not any(fnmatchcase(path, pattern) for pattern in patterns)
    }
    assert unlisted == set()


@pytest.mark.parametrize(
    ("section", "provider"), [("An LLM provider", "anthropic"), ("A cloud", "aws")]
)
def test_every_listed_file_exists(section: str, provider: str) -> None:
    for pattern in _listed(section):
        assert list(REPOSITORY.glob(pattern.replace("{provider}", provider))), pattern
