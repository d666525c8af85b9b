"""The whole local stack as one object: start, watch, stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from stack.environment import airflow_environment, sandbox_environment, service_account
from stack.errors import StackError
from stack.guarded import run
from stack.lock import StateLock
from stack.ports import check_ports_free
from stack.processes import Component, RecentRestarts, become_reaper, end_orphans, stop_all
from stack.secrets import LocalSecrets
from stack.service import Service, airflow_service, python_service
from stack.settings import LOOPBACK, REPOSITORY, StackSettings

MAX_RESTARTS = 3
RESTART_WINDOW_SECONDS = 600
SINGLE = ("scheduler", "dag-processor", "triggerer")
# Airflow's log server listens on every address and has no option for it. The API servers of a
# local stack read the log files themselves.
SKIP_LOG_SERVER = "--skip-serve-logs"
_SERVES_LOGS = ("scheduler", "triggerer")
SANDBOX_READY_SECONDS = 30
MIGRATE_SECONDS = 180


class Stack:
    """The sandbox and Airflow's four components, each a process of its own.

    Another stack is a subclass that says what else runs: `backing` and `services`.

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
            check_ports_free(self.settings.ports)
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
        for service in self.backing():
            self._add(service)
        self._wait_for_backing()
        self._say("preparing Airflow's database")
        self._prepare()
        services = self.services()
        self._say(f"starting Airflow ({', '.join(service.name for service in services)})")
        for service in services:
            self._add(service)
        self._wait("Airflow", self._airflow_is_healthy, self.settings.ready_timeout_seconds)
        self._wait("the API", self._api_responses, self.settings.ready_timeout_seconds)

    def backing(self) -> tuple[Service, ...]:
        """Return what Airflow needs around it, in the order of its start."""
        self._say("starting the sandbox (BigQuery, KMS, providers)")
        environment = sandbox_environment(self.settings)
        return (python_service("sandbox", "-m", "convergence_sandbox", env=environment),)

    def services(self) -> tuple[Service, ...]:
        """Airflow's components."""
        shared = self._shared_environment()
        api_server = shared | service_account(self.settings.base_url, self.secrets)
        # Airflow's SQLite: its API server stands still for seconds while two changes meet there.
        api_server["AIRFLOW_API_MOST_CHANGES"] = "1"
        return (
            airflow_service("api-server", api_server),
            *self._single(shared),
        )

    def _single(self, env: Mapping[str, str]) -> tuple[Service, ...]:
        """Return the components that run once in every stack."""
        return tuple(
            airflow_service(name, env, name, *((SKIP_LOG_SERVER,) if name in _SERVES_LOGS else ()))
            for name in SINGLE
        )

    def _shared_environment(self) -> dict[str, str]:
        schedule = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(self._on_schedule)}
        return airflow_environment(self.settings, self.secrets) | schedule

    def _wait_for_backing(self) -> None:
        self._wait("the sandbox", self._sandbox_responses, SANDBOX_READY_SECONDS)

    def _add(self, service: Service) -> None:
        component = Component(
            service.name,
            service.command,
            env=service.env,
            log=self.settings.log_dir / f"{service.name}.log",
            cwd=REPOSITORY,
            stop_signal=service.stop_signal,
            stops_last=service.stops_last,
            restarts=RecentRestarts(maximum=MAX_RESTARTS, window_seconds=RESTART_WINDOW_SECONDS),
        )
        self.components.append(component)
        component.start()

    def _prepare(self) -> None:
        env = self._shared_environment()
        home = Path(env["AIRFLOW_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        self.secrets.write_airflow_passwords(home / "passwords.json")
        marker = home / "migrated"
        version = _airflow_version()
        # `airflow db migrate` takes seconds even when there is nothing to do.
        if marker.is_file() and marker.read_text() == version and (home / "airflow.db").is_file():
            return
        self._run_job("migrate", "airflow", "db", "migrate", env=env)
        marker.write_text(version)

    def _run_job(self, name: str, *module: str, env: Mapping[str, str]) -> None:
        log = self.settings.log_dir / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            job = run(
                [sys.executable, "-m", *module],
                env=env,
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=MIGRATE_SECONDS,
            )
        if job.returncode != 0:
            raise StackError(f"{' '.join(module)} failed", log=log)

    def _wait(self, what: str, is_ready: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.reject_dead()
            if is_ready():
                return
            time.sleep(0.2)
        log = self.components[-1].log if self.components else None
        raise StackError(f"{what} was not ready within {seconds:.0f} s", log=log)

    def reject_dead(self) -> None:
        """Raise when a component has ended by itself.

        Raises:
            StackError: names the component, its exit code and its log.
        """
        for component in self.components:
            if (code := component.exit_code()) is not None:
                raise StackError(f"{component.name} ended with code {code}", log=component.log)

    def restart_dead(self) -> None:
        """Start a component that ended again, a bounded number of times within a window.

        Raises:
            StackError: it ended too often within `RESTART_WINDOW_SECONDS`.
        """
        for component in self.components:
            if (code := component.exit_code()) is None:
                continue
            if not component.restarts.allow(time.monotonic()):
                message = (
                    f"{component.name} ended {MAX_RESTARTS + 1} times within "
                    f"{RESTART_WINDOW_SECONDS} s, last with code {code}; its log says why"
                )
                raise StackError(message, log=component.log)
            self._say(f"{component.name} ended with code {code}; starting it again")
            end_orphans()
            component.start()

    def stop(self) -> None:
        """Stop every process; what does not stop in time is killed and named."""
        if self.components:
            killed = stop_all(self.components, grace_seconds=self.settings.stop_timeout_seconds)
            if killed:
                self._say(f"killed after {self.settings.stop_timeout_seconds:.0f} s: {killed}")
            self.components = []
        self._lock.__exit__()

    def _sandbox_responses(self) -> bool:
        bigquery = f"http://{LOOPBACK}:{self.settings.sandbox_bigquery_port}/_sandbox/health"
        providers = f"http://{LOOPBACK}:{self.settings.sandbox_providers_port}/_sandbox/faults"
        return _get(bigquery) is not None and _get(providers) is not None

    def _airflow_is_healthy(self) -> bool:
        needed = ("metadatabase", "scheduler", "dag_processor")
        for base_url in self.settings.base_urls:
            response = _get(f"{base_url}/api/v2/monitor/health")
            health = response.json() if response is not None else {}
            if any(health.get(part, {}).get("status") != "healthy" for part in needed):
                return False
        return True

    def _api_responses(self) -> bool:
        return all(_get(f"{url}/health") is not None for url in self.settings.api_urls)


def _get(url: str) -> httpx.Response | None:
    try:
        response = httpx.get(url, timeout=5, trust_env=False)
    except httpx.HTTPError:
        return None
    return response if response.status_code == 200 else None


def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow")
