"""The registry of providers: its entries, and the errors of a wrong file."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from convergence.errors import ConfigurationError, NotFoundError
from convergence.providers.registry import ProviderRegistry, RetryConfig, load_registry
from convergence.settings import PROJECT_ROOT, Settings

FILE = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"


def faults_of(path: Path) -> list[str]:
    """Every error of a file."""
    return [error.replace(str(path), "FILE") for error in ProviderRegistry.load(path).errors]


def test_every_provider_of_the_contract_is_there_under_its_names() -> None:
    known = load_registry(Settings())
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
    assert known.get_by_any_name("VENDOR_API") is known.get_by_any_name("vendor_api")
    assert known.get("claude").id == "anthropic"
    assert known.by_table_id("GCP_SA").id == "gcp"


@pytest.mark.parametrize("provider", ["openai", "anthropic", "deepseek", "gcp"])
def test_a_setting_points_a_provider_elsewhere(provider: str) -> None:
    entry = load_registry(Settings()).get(provider)
    assert entry.url(Settings()) == entry.base_url
    assert entry.base_url_variable is not None
    moved = Settings.model_validate({entry.base_url_variable.lower(): "http://127.0.0.1:9/x/"})
    assert entry.url(moved) == "http://127.0.0.1:9/x"


def test_an_unknown_provider_is_told_with_what_was_likely_meant() -> None:
    with pytest.raises(NotFoundError) as caught:
        load_registry(Settings()).get("opnai")
    assert caught.value.details["did_you_mean"] == "openai"


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
        (("money: charge", "money: gift"), None),
        (("sk-ant-[A-Za", "sk-ant-[(A-Za-z"), None),
        (("base_url: https://api.openai", "base_url: http://api.openai"), "pattern"),
        (("sk-[A-Za-z0-9_-]{8,400}", "sk-[A-"), "is not a regular expression"),
        (
            (
                "        dimensions: [SkuId, SkuMeter, SubAccountId, x_ApiKeyId, x_ServiceTier]\n",
                "",
            ),
            "dimensions",
        ),
        (("schema_file: openai/schemas", "schema: openai/schemas"), "Extra inputs"),
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
        assert ProviderRegistry.load(path)
    else:
        assert any(told in fault for fault in faults_of(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("providers: [", "FILE:2:1: did not find"),
        ("", "FILE:1:1: providers: a mapping of at least one entry is needed"),
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
    for name in ("openai", "a"):
        with pytest.raises((ConfigurationError, NotFoundError)):
            ProviderRegistry.load(path).get(name)


def test_a_missing_file_is_a_named_error(tmp_path: Path) -> None:
    assert "can't be read" in faults_of(tmp_path / "providers.yml")[0]
    with pytest.raises(ConfigurationError, match="can't be read"):
        ProviderRegistry.load(tmp_path / "providers.yml").get("openai")


def edited(root: Path, *changes: tuple[str, str]) -> ProviderRegistry:
    """The shipped registry with some changes, in a folder of configurations of its own."""
    text = FILE.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path = root / "system" / "providers.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return load_registry(Settings(configs_dir=root))


OPENAI_HOST = "base_url: https://api.openai.com/v1"
_BREAKS = {
    "a wrong value": (OPENAI_HOST, "base_url: http://api.openai.com/v1", "openai.base_url"),
    "a key twice": (OPENAI_HOST, f"{OPENAI_HOST}\n    {OPENAI_HOST}", "openai.base_url"),
    "an unknown key": (OPENAI_HOST, f"{OPENAI_HOST}\n    colour: blue", "openai.colour"),
    "a date for a text": ("name: OpenAI", "name: 2026-01-01", "openai"),
    "not a number": ("lookback_days: 3", "lookback_days: .nan", "openai"),
    "a tag of another language": ("name: OpenAI", "name: !!python/name:os.system", "constructor"),
    "an alias": (OPENAI_HOST, "name: &me x\n    base_url: *me", "openai"),
    "no mapping": ("  openai:\n    name: OpenAI", "  openai: 7\n  x1:\n    name: OpenAI", "openai"),
    "a wrong table id": ("table_id: OPENAI", "table_id: [OPENAI]", "openai.table_id"),
    "an alias that is another's id": (
        OPENAI_HOST, f"aliases: [gcp]\n    {OPENAI_HOST}", "openai"
    ),
    "the entry twice": ("  anthropic:\n", "  openai: {}\n\n  anthropic:\n", "openai"),
}  # fmt: skip


@pytest.mark.parametrize("name", _BREAKS)
def test_an_error_in_one_entry_stops_that_provider_only(tmp_path: Path, name: str) -> None:
    before, after, field = _BREAKS[name]
    known = edited(tmp_path, (before, after))
    with pytest.raises(ConfigurationError) as caught:
        known.get("openai")
    said = str(caught.value)
    assert caught.value.code == "configuration_invalid"
    assert "The provider openai" in said
    assert "system/providers.yml:" in said
    assert str(tmp_path) not in said
    assert "yml:1:1" not in said
    assert field in said
    assert {one.id for one in known} >= {"anthropic", "deepseek", "gcp", "aws", "azure"}
    assert "openai" not in {one.id for one in known}
    assert "openai" in known.ids
    assert known.get("claude").table_id == "ANTHROPIC"
    assert known.by_table_id("GCP_SA").id == "gcp"


def test_two_entries_of_one_table_id_are_both_refused(tmp_path: Path) -> None:
    known = edited(tmp_path, ("table_id: AZURE", "table_id: OPENAI"))
    for ask in (
        lambda: known.get("openai"),
        lambda: known.get("azure"),
        lambda: known.by_table_id("OPENAI"),
        lambda: known.get_by_any_name("OPENAI"),
        lambda: known.id_of_table("OPENAI"),
    ):
        with pytest.raises(ConfigurationError, match="two providers have the table_id OPENAI"):
            ask()
    assert known.get("gcp")


def test_a_sound_entry_does_not_take_the_table_id_of_a_broken_one(tmp_path: Path) -> None:
    wrong = (OPENAI_HOST, "base_url: x")
    known = edited(tmp_path, wrong, ("table_id: AZURE", "table_id: OPENAI"))
    with pytest.raises(ConfigurationError):
        known.by_table_id("OPENAI")
    with pytest.raises(ConfigurationError):
        known.get("azure")


def test_a_broken_entry_is_still_named_where_only_its_name_is_needed(tmp_path: Path) -> None:
    known = edited(tmp_path, (OPENAI_HOST, "base_url: x"))
    assert known.id_of_table("OPENAI") == "openai"
    with pytest.raises(NotFoundError):
        known.id_of_table("NOBODY")


def test_a_changed_file_is_another_edition_and_is_read_at_the_next_use(tmp_path: Path) -> None:
    before = edited(tmp_path)
    assert load_registry(Settings(configs_dir=tmp_path)) is before
    assert before.edition
    after = edited(tmp_path, ("name: OpenAI", "name: OpenAJ"))
    assert after.get("openai").name == "OpenAJ"
    assert after.edition != before.edition
    again = edited(tmp_path)
    assert again.edition == before.edition


def test_a_further_provider_is_an_entry_and_no_code(tmp_path: Path) -> None:
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    mistral = copy.deepcopy(entries["providers"]["deepseek"])
    mistral |= {"name": "Mistral", "table_id": "MISTRAL", "base_url": "https://api.mistral.ai/v1"}
    del mistral["base_url_variable"]
    entries["providers"]["mistral"] = mistral
    path = tmp_path / "providers.yml"
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    assert ProviderRegistry.load(path).get("mistral").url(Settings()) == "https://api.mistral.ai/v1"


def test_a_provider_may_have_a_retry_policy_of_its_own(tmp_path: Path) -> None:
    known = edited(tmp_path, ("table_id: OPENAI", "table_id: OPENAI\n    retry: {attempts: 9}"))
    assert known.get("openai").retry == RetryConfig(attempts=9, base_seconds=0.5, max_seconds=30)
    assert known.get("anthropic").retry is None


@pytest.mark.parametrize(
    "value", ["{attempts: 0}", "{attempts: 21}", "{max_seconds: 601}", "{pause: 1}", "often"]
)
def test_an_invalid_retry_policy_stops_its_provider_only(tmp_path: Path, value: str) -> None:
    known = edited(tmp_path, ("table_id: OPENAI", f"table_id: OPENAI\n    retry: {value}"))
    with pytest.raises(ConfigurationError, match=r"providers\.openai\.retry"):
        known.get("openai")
    assert known.get("anthropic").id == "anthropic"
