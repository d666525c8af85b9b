"""The registry of providers: what it holds, and how a wrong file is told."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from convergence.errors import ConfigurationError, NotFoundError
from convergence.providers.registry import Registry, registry
from convergence.settings import PROJECT_ROOT, Settings

FILE = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"


def faults_of(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        Registry.load(path)
    faults = caught.value.facts["faults"]
    assert isinstance(faults, list)
    return [str(fault).replace(str(path), "FILE") for fault in faults]


def test_every_provider_of_the_contract_is_there_under_its_names() -> None:
    known = registry(Settings())
    tables = {provider.id: provider.table_id for provider in known}
    assert tables == {
        "openai": "OPENAI",
        "anthropic": "ANTHROPIC",
        "deepseek": "DEEPSEEK",
        "gcp": "GCP_SA",
        "aws": "AWS",
        "azure": "AZURE",
        "vendor_api": "VENDOR_API",
    }
    assert known.named("VENDOR_API") is known.named("vendor_api")
    assert known.get("claude").id == "anthropic"
    assert known.by_table_id("GCP_SA").id == "gcp"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "deepseek", "gcp"])
def test_a_setting_points_a_provider_elsewhere(provider: str) -> None:
    entry = registry(Settings()).get(provider)
    assert entry.url(Settings()) == entry.base_url
    assert entry.base_url_variable is not None
    moved = Settings.model_validate({entry.base_url_variable.lower(): "http://127.0.0.1:9/x/"})
    assert entry.url(moved) == "http://127.0.0.1:9/x"


def test_an_unknown_provider_is_told_with_what_was_likely_meant() -> None:
    with pytest.raises(NotFoundError) as caught:
        registry(Settings()).get("opnai")
    assert caught.value.facts["did_you_mean"] == "openai"


def test_every_fault_of_a_file_is_told_at_its_line(tmp_path: Path) -> None:
    text = FILE.read_text(encoding="utf-8")
    broken = (
        text.replace("table_id: OPENAI", "table_id: openai", 1)
        .replace("kind: cloud", "kind: clod", 1)
        .replace("lookback_days: 0\n", 'lookback_days: "0"\n', 1)
        .replace("  - form: aws_role", "  - form: aws_rôle", 1)
        + "    colour: blue\n"
    )
    path = tmp_path / "providers.yml"
    path.write_text(broken, encoding="utf-8")
    faults = faults_of(path)
    lines = broken.splitlines()
    assert len(faults) == 5
    for fault in faults:
        _, line, column, key, _ = fault.split(":", 4)
        last = key.strip().split(".")[-1]
        assert lines[int(line) - 1].lstrip("- ").startswith(f"{last}:")
        assert int(column) > 1
    assert [fault.split(": ")[1] for fault in faults] == [
        "providers.openai.table_id",
        "providers.deepseek.lookback_days",
        "providers.gcp.kind",
        "providers.aws.credentials.0.form",
        "providers.vendor_api.colour",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("aliases: [claude]", "aliases: [openai]"), "two providers have the provider openai"),
        (("table_id: AWS", "table_id: AZURE"), "two providers have the table_id AZURE"),
        (("OPENAI_BASE_URL", "OPENAI_BASE_UR"), "OPENAI_BASE_UR is not a setting"),
        (("default: computed", "default: billed"), None),
        (("sk-ant-[A-Za", "sk-ant-[(A-Za-z"), None),
        (("base_url: https://api.openai", "base_url: http://api.openai"), "pattern"),
        (("sk-[A-Za-z0-9_-]{8,400}", "sk-[A-"), "is no regular expression"),
        (("available: [computed, billed]", "available: [billed]"), "one of available"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, change: tuple[str, str], told: str | None
) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert change[0] in text
    path = tmp_path / "providers.yml"
    path.write_text(text.replace(*change, 1), encoding="utf-8")
    if told is None:
        assert Registry.load(path)
    else:
        assert any(told in fault for fault in faults_of(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("providers: [", "FILE:2:1: did not find"),
        ("", "FILE:1:1: file:"),
        ("providers: {}", "FILE:1:1: providers:"),
        ("providers:\n  a: 1\n  a: 2\n", "FILE:3:3: providers.a: stands twice"),
        ("providers: &x\n  a: *x\n", "FILE:2:3: providers.a: aliases are not accepted"),
        ("providers: .nan", "FILE:1:1:"),
        ("a" * 300_000, "larger than"),
        ("[" * 20_000, "FILE:2:1:"),
    ],
)
def test_a_file_that_is_no_registry_is_a_named_error(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "providers.yml"
    path.write_text(text, encoding="utf-8")
    assert any(told in fault for fault in faults_of(path))


def test_a_missing_file_is_a_named_error(tmp_path: Path) -> None:
    assert "can't be read" in faults_of(tmp_path / "providers.yml")[0]


def test_a_further_provider_is_an_entry_and_no_code(tmp_path: Path) -> None:
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    mistral = copy.deepcopy(entries["providers"]["deepseek"])
    mistral |= {"name": "Mistral", "table_id": "MISTRAL", "base_url": "https://api.mistral.ai/v1"}
    del mistral["base_url_variable"]
    entries["providers"]["mistral"] = mistral
    path = tmp_path / "providers.yml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert Registry.load(path).get("mistral").url(Settings()) == "https://api.mistral.ai/v1"
