from __future__ import annotations

import stat
from pathlib import Path

from sqlalchemy import make_url

from convergence.settings import Settings
from deploy.secrets import make_secrets


def test_only_the_owner_enters_and_every_container_user_can_read(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    names = make_secrets(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in names} == {0o444}


def test_making_them_again_replaces_nothing_and_adds_what_is_missing(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    (tmp_path / "airflow_database_url").unlink()
    (tmp_path / "celery_broker_url").unlink()
    assert sorted(make_secrets(tmp_path)) == ["airflow_database_url", "celery_broker_url"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_the_urls_carry_the_passwords_that_the_servers_are_given(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert make_url(told["airflow_database_url"]).password == told["postgres_password"]
    assert make_url(told["state_database_url"]).password == told["state_postgres_password"]
    redis = make_url(told["redis_url"]).password
    assert f"requirepass {redis}\n" in told["redis_conf"]
    assert make_url(told["celery_broker_url"]).password == redis


def test_two_deployments_share_no_secret(tmp_path: Path) -> None:
    for each in ("one", "two"):
        make_secrets(tmp_path / each)
    for path in (tmp_path / "one").iterdir():
        assert (
            not path.read_text() or path.read_text() != (tmp_path / "two" / path.name).read_text()
        )


def test_production_takes_what_is_made(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    settings = Settings(
        _secrets_dir=tmp_path, environment="production", kms_key_name="projects/p", API_PROCESSES=2
    )
    assert settings.find_errors() == []
