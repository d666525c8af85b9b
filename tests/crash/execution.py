"""Execute a scenario: drive runs as Airflow does, with faults, while a reader reads."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from convergence.state.org_runs import OrgRun, RunStatus, org_run_id
from convergence.state.slots import RunLimits
from crash import task
from crash.checking.reader import Versions, watch
from crash.platform import Platform, days
from crash.processes import Child, fork
from crash.scenario import Action, Fault, Inputs, Run, Scenario, Stage, Wake
from crash.task import HEARTBEAT_LIMIT, Try
from crash.tries import Sleeper, Trying, is_warehouse
from support.run_records import admit_run

RETRIES = 3
"""Of a task, as the pipeline's file says."""
MOST_FAULTS = 4
"""Tries more: those that faults of ours end leave the task its own retries."""
RETRY_SECONDS = HEARTBEAT_LIMIT / 2
"""Before the second try; twice that before the third and so on."""
STAGE_SECONDS = 240.0
LOOK_SECONDS = 0.004
_LIMITS = RunLimits(runs_per_day=10_000, runs_per_month=100_000, concurrent_runs=1_000)


class StuckError(Exception):
    """Raised when a stage does not end in its time."""


@dataclass
class Driven:
    """A run: what became of it.

    Attributes:
        tries: the number of the newest try of each step.
        last: the newest successful try of each step.
        failed: why it did not succeed.
        passed: points of the run, as often as the try that passed them most often did.
    """

    name: str
    run_id: str
    tries: Counter[str] = field(default_factory=Counter)
    last: dict[str, Trying] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    started: bool = False
    ended: bool = False
    failed: str = ""


class Execution:
    """One scenario on one platform, for a new org."""

    def __init__(self, scenario: Scenario, platform: Platform, *, org: str) -> None:
        self.scenario = scenario
        self.platform = platform
        self.org = org
        self.runs: dict[str, Driven] = {}
        self.struck: Counter[str] = Counter()
        self.seen: list[str] = []
        self.reads = 0
        self.inputs = scenario.stages[0].inputs
        self.window = False
        self._sleepers: list[Sleeper] = []
        self._children: list[Child] = []
        self._down_until: float | None = None
        self._reader: Child | None = None
        self._reader_read = 0

    def observe(self, versions: Versions) -> None:
        """Start the reader; it reads until it is stopped."""
        self._reader = fork(watch(self.platform, self.org, versions))

    def close(self) -> None:
        """End every process that is left."""
        if self._reader is not None:
            self._look_at_reader()
            self._reader.end()
        for child in self._children:
            if child.status is None:
                child.end()

    def set_inputs(self, inputs: Inputs) -> None:
        """Change what the provider and the price book say."""
        self.inputs = inputs
        self.platform.set_inputs(self.org, inputs)

    def run_stage(self, stage: Stage) -> list[Driven]:
        """Run a stage to its end; its runs."""
        self.set_inputs(stage.inputs)
        driven = [self._driven(run) for run in stage.runs]
        for one in driven:
            one.started = one.ended = False
            one.failed = ""
        pending = [
            self._drive(run, one, driven) for run, one in zip(stage.runs, driven, strict=True)
        ]
        limit = time.monotonic() + STAGE_SECONDS
        while pending or any(not one.trying.over for one in self._sleepers):
            pending = [drive for drive in pending if next(drive, "over") != "over"]
            self._tick()
            if time.monotonic() > limit:
                raise StuckError(f"The stage did not end: {[one.name for one in driven]}")
            time.sleep(LOOK_SECONDS)
        for sleeper in self._sleepers:
            self.window |= sleeper.trying.killed and sleeper.trying.sent_after_waking
        self._sleepers.clear()
        return driven

    def _tick(self) -> None:
        for sleeper in self._sleepers:
            sleeper.trying.tick()
            sleeper.tick()
        if self._down_until is not None and time.monotonic() >= self._down_until:
            self._down_until = None
            self.platform.restart_sandbox()
        elif self._down_until is None and not self.platform.sandbox.alive:
            self._down_until = time.monotonic() + 0.2
        self._look_at_reader()

    def _look_at_reader(self) -> None:
        if self._reader is None:
            return
        self._reader.poll()
        new = self._reader.messages[self._reader_read :]
        self._reader_read += len(new)
        self.reads += sum("read" in message for message in new)
        self.seen += [message["wrong"] for message in new if "wrong" in message]

    def _driven(self, run: Run) -> Driven:
        if run.name in self.runs:
            return self.runs[run.name]
        dag_id = self.platform.spec.dag_id
        dag_run_id = f"{self.scenario.seed}_{run.name}"
        one = Driven(run.name, org_run_id(dag_id, dag_run_id, self.org))
        self.runs[run.name] = one
        now = datetime.now(UTC)
        record = OrgRun(
            run_id=one.run_id,
            org_slug=self.org,
            pipeline_id=self.platform.spec.pipeline_id,
            dag_id=dag_id,
            dag_run_id=dag_run_id,
            trigger="api",
            requested_by="admin",
            created_at=now,
        )
        records = task.records_of(self.platform)
        admit_run(self.platform.env.services.store, record, limits=_LIMITS, now=now)
        records.begin_run(one.run_id, now=now, days=days(self.scenario.days))
        return one

    def _drive(self, run: Run, one: Driven, stage: list[Driven]) -> Iterator[None]:
        """Step after step, try after try; yields while there is nothing to do."""
        first = stage[0]
        if run.starts_at:
            while not (first.ended or first.passed[run.starts_at] >= run.starts_hit):
                yield
            yield from _pause(run.starts_after_ms / 1000)
        if run.inputs is not None:
            self.set_inputs(run.inputs)
        one.started = True
        pending = list(run.faults)
        steps = task.steps_of(naive=self.scenario.naive)
        for step in steps[steps.index(run.first_step) :]:
            yield from self._step(step, run, one, stage, pending)
            if one.failed:
                break
        status = RunStatus.FAILED if one.failed else RunStatus.SUCCESS
        records = task.records_of(self.platform)
        records.finish_run(one.run_id, status, now=datetime.now(UTC))
        one.ended = True

    def _step(
        self, step: str, run: Run, one: Driven, stage: list[Driven], pending: list[Fault]
    ) -> Iterator[None]:
        # Airflow changes it when a task is cleared, and at no other time.
        max_tries = one.tries[step] + RETRIES + MOST_FAULTS
        before: Trying | None = None
        failures = 0
        while True:
            fault = next((fault for fault in pending if fault.step == step), None)
            trying = self._try(step, one, fault, max_tries=max_tries)
            if before is not None:
                before.successor = trying
            yield from self._until_over(trying, one, stage)
            if trying.struck and fault is not None:
                pending.remove(fault)
                self.struck[fault.action.value] += 1
            if trying.succeeded:
                self._keep(trying, one)
                return
            spent = failures == RETRIES and not trying.struck
            if run.abandoned or trying.ended == "failed" or spent:
                one.failed = f"{step}: {trying.why or f'status {trying.child.status}'}"
                return
            before = trying
            if not trying.struck:
                yield from _pause(RETRY_SECONDS * 2**failures)
                failures += 1

    def _keep(self, trying: Trying, one: Driven) -> None:
        one.last[trying.job.step] = trying
        if not trying.struck:
            self.platform.usual[trying.job.step] = trying.child.age

    def _try(self, step: str, one: Driven, fault: Fault | None, *, max_tries: int) -> Trying:
        one.tries[step] += 1
        job = Try(
            org=self.org,
            run_id=one.run_id,
            step=step,
            number=one.tries[step],
            max_tries=max_tries,
            day_count=self.scenario.days,
            fault=fault,
            naive=self.scenario.naive,
            log=self.platform.log_of(self.scenario.seed),
        )
        child = fork(lambda pipe: task.run_try(job, self.platform, pipe))
        self._children.append(child)
        return Trying(job, child, self.platform.usual[step])

    def _until_over(self, trying: Trying, one: Driven, stage: list[Driven]) -> Iterator[None]:
        """Until the try has ended, or is declared dead and left to sleep."""
        slept = False
        while True:
            for message in trying.tick():
                if "point" in message:
                    point = message["point"]
                    one.passed[point] = max(one.passed[point], message["hit"])
                    one.sent += point == "job_sent"
            if trying.over:
                return
            action = trying.stopped_by
            if is_warehouse(action):
                self._strike_warehouse(trying)
            elif action is not None and not slept:
                slept = True
                sleeper = Sleeper(trying, self._condition(trying, one, stage))
                self._sleepers.append(sleeper)
                if action is not Action.PAUSE:
                    # Airflow declares a frozen try dead once its heartbeat is too old.
                    yield from _pause(HEARTBEAT_LIMIT if action is Action.FREEZE else 0.0)
                    return
            yield

    def _condition(self, trying: Trying, one: Driven, stage: list[Driven]) -> Callable[[], bool]:
        """Whether what a stopped try waits for has come."""
        fault = trying.fault
        assert fault is not None
        others = [other for other in stage if other is not one]
        conditions: dict[Wake, Callable[[], bool]] = {
            Wake.SUCCESSOR_STARTED: lambda: trying.successor is not None,
            Wake.SUCCESSOR_ENDED: lambda: trying.successor is not None and trying.successor.over,
            Wake.RUN_ENDED: lambda: one.ended,
            Wake.OTHER_STARTED: lambda: all(other.started for other in others),
            Wake.OTHER_ENDED: lambda: all(other.ended for other in others),
        }
        return conditions[fault.wake]

    def _strike_warehouse(self, trying: Trying) -> None:
        fault, sandbox = trying.fault, self.platform.sandbox
        assert fault is not None
        if fault.action is Action.WAREHOUSE_KILL:
            sandbox.kill()
            self._down_until = time.monotonic() + fault.down_ms / 1000
        else:
            posts = r"/jobs|/insertAll"
            action = "drop_reply" if fault.action is Action.DROP_RESPONSE else "kill"
            match = {"method": "POST", "path_regex": posts}
            sandbox.admin("POST", "faults", {"action": action, "match": match})
        trying.child.wake()


def _pause(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        yield
