from __future__ import annotations

import logging
from pathlib import Path

import pytest

from convergence.errors import SettingsError
from convergence.settings import Settings, get_settings, read_settings

ROOT_KEY = "root_0123456789abcdefghijklmnopqrstuvwxyz"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "KMS_KEY_NAME": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "CA_ROOT_API_KEY": ROOT_KEY,
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRETS_DIR", "AIRFLOW__API__WORKERS", "API_PROCESSES", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def _produce(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    for name, value in (PRODUCTION | changes).items():
        monkeypatch.setenv(name, value)


def _faults() -> str:
    with pytest.raises(SettingsError) as caught:
        read_settings()
    return str(caught.value.details["errors"])


@pytest.mark.parametrize("name", ["ca_root_api_key", "CA_ROOT_API_KEY", "admin_api_key"])
def test_a_secret_may_be_a_file_of_its_variables_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(f"{ROOT_KEY}\n")
    (tmp_path / "redis_url").write_text("redis://:secret@redis:6379/1\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    settings = read_settings()
    assert settings.root_api_key is not None
    assert settings.root_api_key.get_secret_value() == ROOT_KEY
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:secret@redis:6379/1"


def test_the_environment_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gcp_project_id").write_text("from-file")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    assert read_settings().gcp_project_id == "from-file"
    monkeypatch.setenv("GCP_PROJECT_ID", "from-environment")
    assert read_settings().gcp_project_id == "from-environment"


def test_a_missing_secrets_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "none"))
    assert f"SECRETS_DIR: {tmp_path / 'none'} is not a directory" in _faults()


def test_no_secret_shows_in_what_is_printed_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _produce(monkeypatch, REDIS_URL="redis://:hush@redis:6379/1", AIRFLOW_API_PASSWORD="hush")
    with caplog.at_level(logging.INFO):
        logging.getLogger(__name__).info("%r %s", read_settings(), read_settings())
    assert "hush" not in caplog.text
    assert ROOT_KEY not in caplog.text


@pytest.mark.parametrize("variable", ["API_PROCESSES", "AIRFLOW__API__WORKERS"])
def test_several_api_processes_in_production_must_share_their_counters(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _produce(monkeypatch, **{variable: "4"})
    assert "REDIS_URL: missing; 4 API processes" in _faults()
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379/1")
    assert read_settings().api_processes == 4


def test_one_api_process_in_production_may_count_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _produce(monkeypatch)
    assert read_settings().redis_url is None


def test_a_worker_in_production_needs_no_root_key(monkeypatch: pytest.MonkeyPatch) -> None:
    _produce(monkeypatch, CA_ROOT_API_KEY="", API_PROCESSES="4")
    get_settings.cache_clear()
    try:
        assert get_settings().root_api_key is None
    finally:
        get_settings.cache_clear()
    assert "CA_ROOT_API_KEY: missing" in _faults()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"CA_ROOT_API_KEY": "short"}, "CA_ROOT_API_KEY: 5 characters"),
        ({"CA_ROOT_API_KEY": "a" * 40}, "CA_ROOT_API_KEY: too few different characters"),
        ({"KMS_KEY_NAME": ""}, "KMS_KEY_NAME: missing"),
        ({"DISABLE_AUTH": "true"}, "DISABLE_AUTH: true"),
        ({"RATE_LIMIT_ENABLED": "false"}, "RATE_LIMIT_ENABLED: false"),
        ({"CORS_ORIGINS": "https://a.example,*"}, "CORS_ORIGINS: a wildcard"),
        ({"CORS_ORIGINS": "https://*.example"}, "CORS_ORIGINS: a wildcard"),
        ({"KMS_EMULATOR_HOST": "sandbox:9060"}, "KMS_EMULATOR_HOST: set to sandbox:9060"),
    ],
)
def test_production_names_each_fault(
    changes: dict[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _produce(monkeypatch, **changes)
    assert fault in _faults()


def test_production_names_all_faults_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _produce(monkeypatch, CA_ROOT_API_KEY="", KMS_KEY_NAME="", DISABLE_AUTH="true")
    faults = _faults()
    assert all(name in faults for name in ("CA_ROOT_API_KEY", "KMS_KEY_NAME", "DISABLE_AUTH"))


@pytest.mark.parametrize("variable", ["API_PROCESSES", "RATE_LIMIT_REQUESTS_PER_MINUTE"])
def test_values_that_can_not_be_read_are_named_beside_those_that_are_refused(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {variable: "many", "ENABLE_API_DOCS": "perhaps"}
    _produce(monkeypatch, KMS_KEY_NAME="", DISABLE_AUTH="true", **wrong)
    faults = _faults()
    for name in (variable, "ENABLE_API_DOCS", "KMS_KEY_NAME", "DISABLE_AUTH"):
        assert f"{name}: " in faults
    assert "CA_ROOT_API_KEY" not in faults


@pytest.mark.parametrize("environment", ["staging", "production"])
@pytest.mark.parametrize("serves_api", [True, False])
def test_authentication_can_be_off_in_development_only(
    environment: str, monkeypatch: pytest.MonkeyPatch, *, serves_api: bool
) -> None:
    _produce(monkeypatch, ENVIRONMENT=environment)
    read_settings(serves_api=serves_api)
    monkeypatch.setenv("DISABLE_AUTH", "true")
    with pytest.raises(SettingsError, match=f"{environment.title()} refuses") as caught:
        read_settings(serves_api=serves_api)
    assert caught.value.details["errors"] == [
        f"DISABLE_AUTH: true; authentication can't be off in {environment}"
    ]
    monkeypatch.setenv("ENVIRONMENT", "development")
    assert read_settings(serves_api=serves_api).disable_auth


def test_development_has_no_faults() -> None:
    assert Settings(disable_auth=True, cors_origins=("*",)).find_errors() == []
