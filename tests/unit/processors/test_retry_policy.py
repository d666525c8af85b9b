"""The retry policy of a provider comes from `retry` in `system/providers.yml`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from convergence.extract.retry import RetryPolicy
from convergence.processors.context import OrgContext
from convergence.processors.lib.daily.extraction import retry_policy
from convergence.processors.lib.rest.rest_config import RestConfig
from convergence.processors.lib.rest.rest_extraction import _choose_retry_policy
from convergence.settings import PROJECT_ROOT, Settings

FILE = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"
RETRY = "\n    retry: {attempts: 2, base_seconds: 1.5, max_seconds: 4}"
CONFIGURED = RetryPolicy(attempts=2, base_seconds=1.5, cap_seconds=4, malformed_attempts=2)


@pytest.fixture
def org(tmp_path: Path) -> OrgContext:
    """An org whose folder of configurations has a retry policy for OpenAI."""
    file = tmp_path / "system" / "providers.yml"
    file.parent.mkdir()
    text = FILE.read_text(encoding="utf-8").replace("table_id: OPENAI", f"table_id: OPENAI{RETRY}")
    file.write_text(text, encoding="utf-8")
    return cast("OrgContext", SimpleNamespace(settings=Settings(configs_dir=tmp_path)))


def test_the_policy_of_a_provider_is_read_from_its_entry(org: OrgContext) -> None:
    assert retry_policy(org, "openai") == CONFIGURED


@pytest.mark.parametrize("provider", ["anthropic", "not_in_the_file"])
def test_a_provider_without_the_key_has_the_default_policy(org: OrgContext, provider: str) -> None:
    assert retry_policy(org, provider) == RetryPolicy()


def rest_config(**changes: Any) -> RestConfig:
    """A step of a REST API."""
    return RestConfig.model_construct(**changes)


def test_a_rest_step_without_retry_has_the_policy_of_its_provider(org: OrgContext) -> None:
    found = _choose_retry_policy(org, rest_config(), provider_id="openai")
    assert found == CONFIGURED


def test_a_rest_step_with_retry_keeps_it(org: OrgContext) -> None:
    retry = RestConfig.model_fields["retry"].default.model_copy(update={"attempts": 5})
    found = _choose_retry_policy(org, rest_config(retry=retry), provider_id="openai")
    assert found == RetryPolicy(attempts=5)
