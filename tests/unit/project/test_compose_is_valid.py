from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema.validators import validator_for

from convergence.settings import Settings
from convergence_sandbox.settings import SandboxSettings
from deploy.secrets import make_secrets
from deploy.settings import AccountSettings, EntrySettings
from stack.celery import CeleryStack
from stack.environment import SHARED_OPTIONS, shared_airflow_options
from stack.secrets import LocalSecrets
from stack.settings import CeleryStackSettings, StackSettings
from stack.stack import SKIP_LOG_SERVER, Stack

REPOSITORY = Path(__file__).resolve().parents[3]
TEXT = (REPOSITORY / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "CONVERGENCE" in service["image"]}
AIRFLOW = {name: service for name, service in OURS.items() if name != "sandbox"}
SHARED = "tools/deploy/airflow.env"
DEV_ENV = (REPOSITORY / "compose.dev.env").read_text()

# Of provider packages that the development environment does not install: from their documentation.
PROVIDER_OPTIONS = {("celery", "broker_url"), ("celery", "result_backend")}
PROVIDER_KNOBS = {
    ("celery", name)
    for name in ("worker_concurrency", "task_publish_max_retries", "extra_celery_config")
}
# Airflow's scheduler reads it, its documentation leaves it out.
UNDOCUMENTED = {("scheduler", "num_stuck_in_queued_retries")}
# Read by the Google client libraries, by Airflow itself, and by our own start.
OUTSIDE = {"GOOGLE_APPLICATION_CREDENTIALS", "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", "SECRETS_DIR"}


def _names(*models: type[Settings | AccountSettings | EntrySettings]) -> set[str]:
    names: set[str] = set()
    for model in models:
        for name, field in model.model_fields.items():
            alias = field.validation_alias
            choices = getattr(alias, "choices", [alias] if alias else [name])
            names |= {str(choice).upper() for choice in choices}
    return names


def _celery_stack(folder: Path) -> CeleryStack:
    stack = CeleryStack(CeleryStackSettings(CONVERGENCE_VAR_DIR=folder), say=lambda _line: None)
    stack.secrets = LocalSecrets.load_or_make(folder / "secrets")
    return stack


def _local_stack(folder: Path) -> Stack:
    stack = Stack(StackSettings(CONVERGENCE_VAR_DIR=folder), say=lambda _line: None)
    stack.secrets = LocalSecrets.load_or_make(folder / "secrets")
    return stack


def _secret_names(service: dict[str, Any]) -> list[str]:
    given = service.get("secrets", [])
    return [each if isinstance(each, str) else each["source"] for each in given]


def test_the_file_is_what_the_compose_specification_allows() -> None:
    vendored = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())
    validator = validator_for(schema)(schema)
    validator.validate(COMPOSE)
    broken = {**COMPOSE, "services": {"x": {"image": "x", "comand": ["x"]}}}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(broken)


def test_every_part_of_the_deployment_is_there() -> None:
    assert set(SERVICES) == {
        "postgres", "redis", "airflow-init", "api-server", "scheduler", "dag-processor",
        "triggerer", "worker", "sandbox",
    }  # fmt: skip
    assert SERVICES["sandbox"]["profiles"] == ["dev"]
    assert all("profiles" not in service for name, service in SERVICES.items() if name != "sandbox")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_watched_limited_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] in {"unless-stopped", "on-failure:3"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert name == "airflow-init" or service["healthcheck"]["test"]


def test_only_the_api_is_published_and_on_loopback_unless_asked() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api-server": ["${API_BIND:-127.0.0.1}:8080-8081:8080"]}
    assert COMPOSE["networks"]["data"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["data"] for name in ("postgres", "redis", "sandbox"))


def test_what_a_service_names_is_declared() -> None:
    for service in SERVICES.values():
        assert set(_secret_names(service)) <= set(COMPOSE["secrets"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        named = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert {each for each in named if not each.startswith("./")} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", {})) <= set(SERVICES)
    mounted = SERVICES["postgres"]["volumes"][1].split(":")[0]
    assert list((REPOSITORY / mounted).glob("*.sql"))


def test_no_secret_is_in_the_file_the_image_or_an_environment() -> None:
    assert all(source.keys() == {"file"} for source in COMPOSE["secrets"].values())
    texts = [TEXT, DEV_ENV, (REPOSITORY / "Dockerfile").read_text()]
    for text in texts:
        assert not re.search(
            r"(PASSWORD|SECRET_KEY|JWT_SECRET|FERNET_KEY|ROOT_API_KEY)[=:] *\S", text
        )
        assert not re.search(r"://[^/\s{}]*:[^/\s{}]+@", text)


def test_every_secret_is_made_by_the_command_that_the_file_names(tmp_path: Path) -> None:
    assert sorted(make_secrets(tmp_path / "secrets")) == sorted(COMPOSE["secrets"])


def test_a_command_reads_only_files_that_its_service_is_given() -> None:
    for service in AIRFLOW.values():
        read = re.findall(r"/run/secrets/(\w+)", json.dumps(service["environment"]))
        given = {each if isinstance(each, str) else each["target"] for each in service["secrets"]}
        assert set(read) <= given


def test_only_the_api_holds_the_root_key_and_only_workers_their_identity() -> None:
    holders: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for secret in _secret_names(service):
            holders.setdefault(secret, set()).add(name)
    assert holders["ca_root_api_key"] == {"api-server"}
    assert holders["airflow_api_password"] == {"api-server", "airflow-init"}
    assert holders["google_credentials_worker"] == {"worker"}
    assert holders["google_credentials_api"] == {"api-server"}
    assert holders["state_database_url"] == {"api-server", "worker"}
    assert holders["aws_platform_secret_access_key"] == {"api-server", "worker"}


def _airflow_options(environment: dict[str, str]) -> Iterator[tuple[str, str, bool]]:
    for name in environment:
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__", 1)
            yield section, option.removesuffix("_cmd"), option.endswith("_cmd")


@pytest.mark.airflow
def test_every_airflow_variable_is_an_option_that_airflow_has() -> None:
    from airflow.configuration import conf

    known = conf.sensitive_config_values | PROVIDER_OPTIONS
    for service in AIRFLOW.values():
        environment = service["environment"] | shared_airflow_options()
        for section, option, is_command in _airflow_options(environment):
            if (section, option) not in PROVIDER_OPTIONS | PROVIDER_KNOBS | UNDOCUMENTED:
                assert option in conf.configuration_description[section]["options"], option
            # Airflow takes a command's output only for what it knows to be a secret.
            assert is_command == ((section, option) in known), option


@pytest.mark.airflow
def test_the_option_that_airflow_does_not_document_is_one_that_it_reads() -> None:
    source = find_spec("airflow.jobs.scheduler_job_runner")
    assert source is not None
    assert source.origin is not None
    text = Path(source.origin).read_text()
    assert all(f'key="{option}"' in text for _, option in UNDOCUMENTED)


def test_every_other_variable_is_read_by_what_runs_there() -> None:
    ours = _names(Settings, AccountSettings, EntrySettings) | OUTSIDE
    for service in AIRFLOW.values():
        given = {name for name in service["environment"] if not name.startswith("AIRFLOW__")}
        assert given - ours == set()
    told = SandboxSettings.__doc__ or ""
    assert all(f"`{name}`" in told for name in SERVICES["sandbox"]["environment"])


def test_every_secret_of_ours_is_a_setting() -> None:
    elsewhere = {"google_credentials", "airflow_jwt_secret", "airflow_session_secret"}
    elsewhere |= {"airflow_fernet_key", "airflow_database_url"}
    elsewhere |= {"celery_broker_url", "celery_result_backend"}
    for service in AIRFLOW.values():
        targets = {each if isinstance(each, str) else each["target"] for each in service["secrets"]}
        assert {each.upper() for each in targets - elsewhere} <= _names(Settings, AccountSettings)


def test_the_counters_are_shared_by_as_many_processes_as_there_are() -> None:
    server = SERVICES["api-server"]
    environment = server["environment"]
    processes = server["deploy"]["replicas"] * int(environment["AIRFLOW__API__WORKERS"])
    assert int(environment["API_PROCESSES"]) == processes == 2
    assert "redis_url" in server["secrets"]


def test_up_celery_runs_the_commands_of_this_file(tmp_path: Path) -> None:
    stack = _celery_stack(tmp_path)
    native = {
        tuple(part for part in service.command[2:] if part != SKIP_LOG_SERVER)
        for service in stack.services()
    }
    composed = {
        tuple(service["command"]) for name, service in AIRFLOW.items() if name != "airflow-init"
    }
    assert composed == native


def test_up_celery_sets_the_same_airflow_options(tmp_path: Path) -> None:
    stack = _celery_stack(tmp_path)
    native = {each[:2] for each in _airflow_options(dict(stack.services()[0].env))}
    environment = AIRFLOW["api-server"]["environment"] | shared_airflow_options()
    composed = {each[:2] for each in _airflow_options(environment)}
    assert composed - native == {("scheduler", "enable_health_check")}


def test_the_containers_and_the_local_stacks_share_one_file_of_airflow_options(
    tmp_path: Path,
) -> None:
    shared = shared_airflow_options()
    assert {service["env_file"][0] for service in AIRFLOW.values()} == {SHARED}
    assert (REPOSITORY / SHARED).samefile(SHARED_OPTIONS)
    assert all(shared.keys().isdisjoint(service["environment"]) for service in AIRFLOW.values())
    for service in (*_celery_stack(tmp_path).services(), *_local_stack(tmp_path).services()):
        assert shared.items() <= service.env.items(), service.name


def test_a_new_pipeline_is_seen_as_soon_as_the_documentation_says(tmp_path: Path) -> None:
    """`make up` and `make up-celery` within half a minute, the containers within a minute."""
    text = " ".join((REPOSITORY / "docs/pipelines.md").read_text().split())
    local = "within half a minute under `make up` and `make up-celery`"
    assert f"{local}, within a minute in the containers" in text
    interval = "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"
    for service in AIRFLOW.values():
        assert service["environment"][interval] == "60"
    for native in (*_celery_stack(tmp_path).services(), *_local_stack(tmp_path).services()):
        assert native.env[interval] == "30", native.name


def test_the_containers_and_up_celery_have_the_same_executor(tmp_path: Path) -> None:
    native = _celery_stack(tmp_path).services()[0].env["AIRFLOW__CORE__EXECUTOR"]
    for service in AIRFLOW.values():
        assert service["environment"]["AIRFLOW__CORE__EXECUTOR"] == native


def test_there_are_twice_as_many_slots_as_workers_run_tasks(tmp_path: Path) -> None:
    environment = SERVICES["worker"]["environment"]
    slots, processes = (
        int(re.sub(r"\$\{\w+:-(\d+)\}", r"\1", environment[name]))
        for name in ("AIRFLOW__CORE__PARALLELISM", "AIRFLOW__CELERY__WORKER_CONCURRENCY")
    )
    assert slots >= 2 * processes * SERVICES["worker"]["deploy"]["replicas"]
    native = _celery_stack(tmp_path).services()[0].env
    concurrency = int(native["AIRFLOW__CELERY__WORKER_CONCURRENCY"])
    assert int(native["AIRFLOW__CORE__PARALLELISM"]) >= 2 * concurrency


def test_a_restart_of_the_api_server_is_no_death_of_a_task() -> None:
    """A supervisor repeats its calls for longer than a restart, and for less than the time-out."""
    options = {name.split("__", 2)[2]: value for name, value in shared_airflow_options().items()}
    retries, pause = (
        float(options[f"EXECUTION_API_{name}"]) for name in ("RETRIES", "RETRY_WAIT_MAX")
    )
    timeout = float(options["TASK_INSTANCE_HEARTBEAT_TIMEOUT"])
    assert retries * pause / 2 >= 30  # pauses are random between nothing and the longest
    assert retries * pause <= timeout
    assert float(options["MIN_HEARTBEAT_INTERVAL"]) * 10 <= timeout
    assert float(options["TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL"]) * 10 <= timeout
    assert (
        float(options["TASK_QUEUED_TIMEOUT"]) * float(options["NUM_STUCK_IN_QUEUED_RETRIES"])
        >= timedelta(hours=1).total_seconds()
    )


def test_the_development_file_sets_only_what_the_compose_file_reads() -> None:
    given = re.findall(r"^([A-Z_]+)=", DEV_ENV, re.MULTILINE)
    assert set(given) <= set(re.findall(r"\$\{([A-Z_]+)", TEXT))


def test_the_image_is_not_roots_and_holds_what_is_pinned() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.search(r"^USER airflow$", dockerfile, re.MULTILINE)
    assert "--require-hashes --compile-bytecode" in dockerfile
    copied = re.findall(r"^COPY (?!--from)(\S+)", dockerfile, re.MULTILINE)
    allowed = re.findall(r"^!(\S+)", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(allowed)
    assert all((REPOSITORY / path).exists() for path in copied)
    assert "apache-airflow" in _pins("requirements-production.lock")


def test_the_production_image_holds_neither_the_sandbox_nor_its_dependencies() -> None:
    stages = _stages()
    assert list(stages)[-1] == "production"
    assert {service.get("build", {}).get("target") for service in AIRFLOW.values()} == {
        "production"
    }
    for name in ("build", "build-production", "production"):
        assert "sandbox" not in stages[name]
        assert "tools/stack" not in stages[name]
    production = _pins("requirements-production.lock")
    assert "convergence-sandbox" not in production
    only_the_sandbox = set(_pins("sandbox/requirements.lock")) - set(production)
    assert only_the_sandbox >= {"aiosmtpd", "duckdb", "flask-cors", "moto"}


def test_the_development_profile_builds_the_sandbox_of_its_own_lock() -> None:
    assert SERVICES["sandbox"]["build"] == {"context": ".", "target": "sandbox"}
    stages = _stages()
    assert "requirements-production" not in stages["build-sandbox"]
    assert re.search(r"--require-hashes[^&]*requirements\.lock", stages["build-sandbox"])
    assert 'CMD ["convergence-sandbox"]' in stages["sandbox"]
    assert "USER sandbox" in stages["sandbox"]


def test_the_images_run_the_python_that_the_tests_run() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    versions = set(re.findall(r"^FROM python:(\S+)-slim", dockerfile, re.MULTILINE))
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert versions == {project["tool"]["mypy"]["python_version"]}


def test_every_lock_pins_the_same_versions() -> None:
    tested = _pins("requirements.lock")
    production = _pins("requirements-production.lock")
    assert {name: production.get(name) for name in tested} == tested
    for name in ("requirements-production.lock", "requirements-dev.lock"):
        other = _pins(name)
        common = {
            key: pin for key, pin in _pins("sandbox/requirements.lock").items() if key in other
        }
        assert {key: other[key] for key in common} == common


def test_the_sandbox_pins_what_it_declares() -> None:
    project = tomllib.loads((REPOSITORY / "sandbox/pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[=<>~]", each)[0] for each in project["dependencies"]}
    assert declared <= set(_pins("sandbox/requirements.lock"))


def _pins(path: str) -> dict[str, str]:
    text = (REPOSITORY / path).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ ;]+)", text, re.MULTILINE))


def _stages() -> dict[str, str]:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    parts = re.split(r"^FROM \S+ AS (\S+)$", dockerfile, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
