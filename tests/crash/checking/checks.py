"""What must be true when a stage has ended, and at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from crash.checking import content
from crash.checking.content import Content
from crash.checking.reader import Versions
from crash.execution import Driven, Execution, StuckError
from crash.platform import (
    PIPELINE_OF_STREAM,
    STREAM_TABLE,
    TABLES,
    USAGE_TABLE,
    Platform,
    days,
)
from crash.points import NAMES
from crash.scenario import Inputs, Run, Scenario, Stage

WRITTEN = frozenset({"PUBLISHED", "UNCHANGED", "RECOVERED"})
CLEAN = Run("clean")


@dataclass
class Findings:
    """What a seed found.

    Attributes:
        wrong: each thing that is not as it must be, in a sentence beginning with its kind.
        struck: how often each fault struck.
    """

    seed: int
    name: str
    wrong: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    reads: int = 0
    seconds: float = 0.0
    org: str = ""

    @property
    def kinds(self) -> list[str]:
        """The kinds of what is wrong."""
        return [sentence.partition(":")[0] for sentence in self.wrong]


def clean_content(platform: Platform, inputs: Inputs, *, day_count: int) -> dict[str, Content]:
    """What a run that nothing disturbs makes of inputs, in an org of its own."""
    if inputs not in platform.clean:
        scenario = Scenario(0, "clean", (Stage(inputs, (CLEAN,)),), days=day_count)
        execution = Execution(scenario, platform, org=platform.new_org())
        try:
            (run,) = execution.run_stage(scenario.stages[0])
            assert not run.failed, run.failed
            missing = [name for name in NAMES if not run.passed[name]]
            assert not missing, f"The product has no such points any more: {missing}"
        finally:
            execution.close()
        platform.clean[inputs] = platform.content(execution.org)
    return platform.clean[inputs]


def check(scenario: Scenario, platform: Platform) -> Findings:
    """Carry a scenario out and say what was wrong."""
    tables = (USAGE_TABLE,) if scenario.naive else TABLES
    versions = _versions(scenario, platform, tables)
    execution = Execution(scenario, platform, org=platform.new_org())
    found = Findings(scenario.seed, scenario.name, org=execution.org)
    try:
        execution.observe(versions)
        for stage in scenario.stages:
            runs = execution.run_stage(stage)
            found.wrong += _stage(execution, stage, runs, versions=versions)
        if not scenario.naive:
            found.wrong += _again(execution, versions)
            found.wrong += _recorded(execution)
    except StuckError as error:
        found.wrong.append(f"stuck: {error}")
    finally:
        execution.close()
    found.wrong += [f"seen {sentence}" for sentence in dict.fromkeys(execution.seen)]
    found.struck = dict(execution.struck)
    found.reads = execution.reads
    return found


def _versions(scenario: Scenario, platform: Platform, tables: Iterable[str]) -> Versions:
    versions: Versions = {
        (table, day.isoformat()): [content.EMPTY] for table in tables for day in days(scenario.days)
    }
    for inputs in sorted(scenario.inputs, key=str):
        clean = clean_content(platform, inputs, day_count=scenario.days)
        for table, day in versions:
            versions[table, day].append(clean[table][day])
    return versions


def _stage(
    execution: Execution, stage: Stage, runs: list[Driven], *, versions: Versions
) -> list[str]:
    expected = [run for run in stage.runs if not run.abandoned]
    wrong = [
        f"false failure: run {one.name}: {one.failed}"
        for one, run in zip(runs, stage.runs, strict=True)
        if one.failed and not run.abandoned
    ]
    if expected and not wrong and not execution.window:
        wrong += _differences(execution, versions)
    return wrong


def _differences(execution: Execution, versions: Versions) -> list[str]:
    """How the tables differ from what a clean run makes of the present inputs."""
    clean = clean_content(execution.platform, execution.inputs, day_count=execution.scenario.days)
    found = execution.platform.content(execution.org)
    differences = [
        content.classify(
            table,
            day,
            found[table].get(day, content.EMPTY),
            [clean[table][day]],
            others=versions[table, day],
        )
        for table, day in versions
    ]
    return [f"{one} after SUCCESS" for one in differences if one is not None]


def _again(execution: Execution, versions: Versions) -> list[str]:
    """Another run of the same inputs succeeds and publishes nothing."""
    if execution.window or _is_restated(execution):
        # A process died between its job and its look at newer attempts: the next run repairs it. A
        # restated day is final again for the next run, whose streams then say so.
        execution.run_stage(Stage(execution.inputs, (Run("repair"),)))
        execution.window = False
    stage = Stage(execution.inputs, (Run("again"),))
    (again,) = execution.run_stage(stage)
    wrong = _stage(execution, stage, [again], versions=versions)
    if again.sent:
        wrong.append(f"published again: {again.sent} jobs without a change")
    return wrong


def _is_restated(execution: Execution) -> bool:
    newest = {
        (row["table_name"], row["slice_day"]): row["finality"]
        for row in execution.platform.ledger(execution.org)
    }
    return "RESTATED" in newest.values()


def _recorded(execution: Execution) -> list[str]:
    """Each slice of a run that succeeded has a row of the run's attempt or of a later one."""
    ledger = execution.platform.ledger(execution.org)
    newest: dict[str, int] = {}
    for row in ledger:
        if row["action"] in WRITTEN:
            key = f"{row['table_name']}/{row['slice_day']}"
            newest[key] = max(newest.get(key, 0), row["attempt"])
    wrong = []
    for one in execution.runs.values():
        if one.failed:
            continue
        taken = {
            slice_id: number
            for trying in one.last.values()
            for slice_id, number in trying.taken.items()
        }
        for table in TABLES:
            for day in days(execution.scenario.days):
                key = f"{table}/{day.isoformat()}"
                pipeline_id = (
                    PIPELINE_OF_STREAM
                    if table == STREAM_TABLE
                    else execution.platform.spec.pipeline_id
                )
                number = taken.get(f"{execution.org}/{pipeline_id}/{key}", 1)
                if newest.get(key, 0) < number:
                    wrong.append(
                        f"no row: run {one.name} succeeded with attempt {number} at {key}, and the"
                        f" ledger's newest row is of attempt {newest.get(key, 0)}"
                    )
    return wrong
