"""The whole local stack as one object: start, watch, stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from stack.environment import airflow_environment, api_server_environment, sandbox_environment
from stack.errors import StackError
from stack.lock import StateLock
from stack.ports import refuse_busy
from stack.processes import Component, become_reaper, stop_all
from stack.secrets import LocalSecrets
from stack.settings import LOOPBACK, REPOSITORY, StackSettings

MAX_RESTARTS = 3
SANDBOX_READY_SECONDS = 30
MIGRATE_SECONDS = 180


class Stack:
    """The sandbox and Airflow's four components, each a process of its own.

    Use as a context manager: leaving it stops every process, whatever happened inside.
    """

    def __init__(
        self, settings: StackSettings, *, say: Callable[[str], None], on_schedule: bool = True
    ) -> None:
        """Prepare a stack; `on_schedule` lets Airflow start runs by itself."""
        self.settings = settings
        self._say = say
        self._on_schedule = on_schedule
        self._lock = StateLock(settings.var_dir)
        self.secrets: LocalSecrets
        self.components: list[Component] = []

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            refuse_busy(self.settings.ports)
            become_reaper()
            self.secrets = LocalSecrets.load_or_make(self.settings.var_dir / "secrets")
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self._say("starting the sandbox (BigQuery, KMS, providers)")
        self._add("sandbox", "-m", "sandbox", env=sandbox_environment(self.settings))
        self._wait("the sandbox", self._sandbox_answers, SANDBOX_READY_SECONDS)
        self._say("preparing Airflow's database")
        self._migrate()
        shared = airflow_environment(self.settings, self.secrets)
        shared["AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE"] = str(self._on_schedule)
        self._say("starting Airflow (api-server, scheduler, dag-processor, triggerer)")
        self._add_airflow("api-server", api_server_environment(self.settings, self.secrets))
        for name in ("scheduler", "dag-processor", "triggerer"):
            self._add_airflow(name, shared)
        self._wait("Airflow", self._airflow_is_healthy, self.settings.ready_timeout_seconds)
        self._wait("the API", self._api_answers, self.settings.ready_timeout_seconds)

    def _add(self, name: str, *arguments: str, env: dict[str, str]) -> None:
        component = Component(
            name,
            [sys.executable, *arguments],
            env=env,
            log=self.settings.log_dir / f"{name}.log",
            cwd=REPOSITORY,
        )
        self.components.append(component)
        component.start()

    def _add_airflow(self, name: str, env: dict[str, str]) -> None:
        self._add(name, "-m", "airflow", name, env=env)

    def _migrate(self) -> None:
        env = airflow_environment(self.settings, self.secrets)
        home = Path(env["AIRFLOW_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        self.secrets.write_airflow_passwords(home / "passwords.json")
        marker = home / "migrated"
        version = _airflow_version()
        # `airflow db migrate` takes seconds even when there is nothing to do.
        if marker.is_file() and marker.read_text() == version and (home / "airflow.db").is_file():
            return
        log = self.settings.log_dir / "migrate.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            migration = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=env,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=MIGRATE_SECONDS,
                check=False,
            )
        if migration.returncode != 0:
            raise StackError("airflow db migrate failed", log=log)
        marker.write_text(version)

    def _wait(self, what: str, is_ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.refuse_dead()
            if is_ready():
                return
            time.sleep(0.2)
        log = self.components[-1].log if self.components else None
        raise StackError(f"{what} was not ready within {seconds:.0f} s", log=log)

    def refuse_dead(self) -> None:
        """Raise when a component has ended by itself.

        Raises:
            StackError: names the component, its exit code and its log.
        """
        for component in self.components:
            if (code := component.exit_code()) is not None:
                raise StackError(f"{component.name} ended with code {code}", log=component.log)

    def restart_dead(self) -> None:
        """Start a component that ended again, a bounded number of times.

        Raises:
            StackError: it ended more than `MAX_RESTARTS` times.
        """
        for component in self.components:
            if (code := component.exit_code()) is None:
                continue
            if component.restarts == MAX_RESTARTS:
                message = f"{component.name} ended {MAX_RESTARTS + 1} times, last with code {code}"
                raise StackError(message, log=component.log)
            component.restarts += 1
            self._say(f"{component.name} ended with code {code}; starting it again")
            component.start()

    def stop(self) -> None:
        """Stop every process; what does not stop in time is killed and named."""
        if self.components:
            killed = stop_all(self.components, grace_seconds=self.settings.stop_timeout_seconds)
            if killed:
                self._say(f"killed after {self.settings.stop_timeout_seconds:.0f} s: {killed}")
            self.components = []
        self._lock.__exit__()

    def _sandbox_answers(self) -> bool:
        bigquery = f"http://{LOOPBACK}:{self.settings.sandbox_bigquery_port}/_sandbox/health"
        providers = f"http://{LOOPBACK}:{self.settings.sandbox_providers_port}/_sandbox/faults"
        return _get(bigquery) is not None and _get(providers) is not None

    def _airflow_is_healthy(self) -> bool:
        answer = _get(f"{self.settings.base_url}/api/v2/monitor/health")
        if answer is None:
            return False
        health = answer.json()
        needed = ("metadatabase", "scheduler", "dag_processor")
        return all(health.get(part, {}).get("status") == "healthy" for part in needed)

    def _api_answers(self) -> bool:
        return _get(f"{self.settings.api_url}/health") is not None


def _get(url: str) -> httpx.Response | None:
    try:
        answer = httpx.get(url, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return None
    return answer if answer.status_code == 200 else None


def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow")
