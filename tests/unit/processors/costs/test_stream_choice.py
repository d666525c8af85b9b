"""Streams and days that the steps of cost streams choose."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from convergence.errors import ConfigurationError, NotFoundError
from convergence.processors.costs.stream_choice import choose_days, choose_streams
from convergence.settings import PROJECT_ROOT, Settings

NEWEST = date(2026, 11, 20)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    configs = tmp_path / "configs"
    (configs / "system").mkdir(parents=True)
    source = PROJECT_ROOT / "include" / "configs" / "system" / "providers.yml"
    shutil.copy(source, configs / "system" / "providers.yml")
    return Settings().model_copy(update={"configs_dir": configs})


def break_openai(settings: Settings) -> None:
    path = settings.configs_dir / "system" / "providers.yml"
    url = "base_url: https://api.openai.com/v1"
    path.write_text(path.read_text().replace(url, "base_url: nowhere", 1))


def test_named_streams_are_chosen_or_all(settings: Settings) -> None:
    assert [one.id for one in choose_streams(settings, ("openai/api",))] == ["openai/api"]
    every = {one.id for one in choose_streams(settings, ())}
    assert every >= {"openai/api", "openai/seats", "anthropic/api", "aws/billing", "gcp/billing"}


def test_a_stream_of_an_entry_with_errors_is_an_error_and_no_success(settings: Settings) -> None:
    break_openai(settings)
    with pytest.raises(ConfigurationError):
        choose_streams(settings, ("openai/api",))
    assert [one.id for one in choose_streams(settings, ("aws/billing",))] == ["aws/billing"]
    assert "openai/api" not in {one.id for one in choose_streams(settings, ())}


def test_a_stream_of_an_unknown_provider_is_an_error(settings: Settings) -> None:
    with pytest.raises(NotFoundError):
        choose_streams(settings, ("nobody/api",))


def test_days_of_the_run_come_first_and_then_the_newest() -> None:
    pending = [NEWEST - timedelta(days=count) for count in range(5)]
    oldest = pending[-1]
    assert choose_days(pending, [oldest], limit=2) == [NEWEST, oldest]
    assert choose_days(pending, [], limit=9) == pending
