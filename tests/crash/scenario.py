"""A seed's scenario: which runs, which inputs, and which faults strike where. Pure data.

Nothing here touches a process: the same seed gives an equal scenario, on every machine.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

USAGE, COST, STREAM, QUALITY = (
    *("extract_usage", "transform_cost", "publish_costs", "validate_quality"),
)
STEPS = (USAGE, COST, STREAM, QUALITY)
_DERIVED_POINTS = {
    "step_started": 1,
    "before_attempt": 1,
    "attempt_taken": 1,
    "before_submit": 3,
    "job_sent": 3,
    "job_done": 3,
    "before_totals": 3,
    "after_totals": 3,
    "before_ledger_row": 3,
    "after_ledger_row": 3,
    "before_step_recorded": 1,
}
POINTS: dict[str, dict[str, int]] = {
    USAGE: {
        "step_started": 1,
        "before_attempt": 1,
        "attempt_taken": 1,
        "before_fsync": 7,
        "after_fsync": 7,
        "before_rename": 7,
        "after_rename": 7,
        "before_submit": 3,
        "job_sent": 3,
        "job_done": 3,
        "before_ledger_row": 3,
        "after_ledger_row": 3,
        "before_step_recorded": 1,
    },
    COST: _DERIVED_POINTS,
    STREAM: _DERIVED_POINTS,
    QUALITY: {"step_started": 1, "before_step_recorded": 1},
}
"""Step → named point → how often a run of three days and three pages passes it."""

NAIVE_POINTS = {
    "attempt_taken": 1,
    "before_submit": 6,
    "job_sent": 6,
    "job_done": 6,
    "before_fsync": 4,
    "after_fsync": 4,
    "before_rename": 4,
    "after_rename": 4,
}
"""The same for the naive loader."""

VERSIONS_OF_USAGE = ("a", "b")
VERSIONS_OF_PRICES = ("p", "q")


class Action(StrEnum):
    """What strikes a process, or the warehouse below it."""

    KILL = "SIGKILL"
    TERM = "SIGTERM"
    FREEZE = "SIGSTOP past the heartbeat"
    PAUSE = "SIGSTOP of a living try"
    OVERLAP = "two tries at once"
    WAREHOUSE_KILL = "warehouse killed"
    WAREHOUSE_KILL_AFTER_COMMIT = "warehouse killed after a commit"
    DROP_RESPONSE = "response dropped after commit"


WAREHOUSE_ACTIONS = frozenset(
    {Action.WAREHOUSE_KILL, Action.WAREHOUSE_KILL_AFTER_COMMIT, Action.DROP_RESPONSE}
)


class Wake(StrEnum):
    """When a stopped process goes on."""

    SUCCESSOR_STARTED = "successor started"
    SUCCESSOR_ENDED = "successor ended"
    RUN_ENDED = "its run ended"
    OTHER_STARTED = "the other run started"
    OTHER_ENDED = "the other run ended"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault; it strikes one try of one step, once.

    Attributes:
        step: whose process it strikes.
        action: what happens.
        point: the named point at which it strikes; empty for a moment in time.
        hit: at which passing of the point, from 1.
        moment: where there is no point: the part of a step's usual time after which it strikes.
        wake: when a stopped process goes on.
        wake_ms: how much later still.
        end_ms: how long after waking a process is killed; None where it may end by itself.
        down_ms: how long the warehouse stays down; how long a process has after SIGTERM.
    """

    step: str
    action: Action
    point: str = ""
    hit: int = 1
    moment: float = 0.0
    wake: Wake = Wake.SUCCESSOR_ENDED
    wake_ms: int = 0
    end_ms: int | None = None
    down_ms: int = 300


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the provider says, and what its usage costs."""

    usage: str
    prices: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the pipeline, or what is cleared of one.

    Attributes:
        name: of the run; a name that came before clears that run's tasks.
        first_step: with which it begins: a cleared task takes those after it along.
        faults: those that strike it, in this order.
        starts_at: the point of the stage's first run at which it begins; empty: at once.
        starts_hit: at which passing of that point.
        starts_after_ms: and how much later.
        inputs: what changes just before it begins.
        abandoned: whether nobody tries it again once a fault has struck it; it may fail.
    """

    name: str
    first_step: str = USAGE
    faults: tuple[Fault, ...] = ()
    starts_at: str = ""
    starts_hit: int = 1
    starts_after_ms: int = 0
    inputs: Inputs | None = None
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """What happens at one time: its inputs, then its runs side by side."""

    inputs: Inputs
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """All that a seed decides."""

    seed: int
    name: str
    stages: tuple[Stage, ...]
    days: int = 3
    naive: bool = False

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Every fault of every run."""
        return tuple(one for stage in self.stages for run in stage.runs for one in run.faults)

    @property
    def inputs(self) -> frozenset[Inputs]:
        """Every pair of usage and prices that may be seen, the crosses included."""
        versions = [stage.inputs for stage in self.stages]
        versions += [run.inputs for stage in self.stages for run in stage.runs if run.inputs]
        return frozenset(
            Inputs(usage.usage, prices.prices) for usage in versions for prices in versions
        )


def scenario(seed: int, *, naive: bool = False) -> Scenario:
    """The scenario of a seed; for the naive loader, which has one step, all strikes that one."""
    from crash.kinds import KINDS

    rng = random.Random(f"crash/{seed}")
    name = rng.choice([name for name, kind in KINDS.items() for _ in range(kind.weight)])
    stages = KINDS[name].make(rng)
    if naive:
        stages = tuple(
            replace(stage, runs=tuple(_in_one_step(run, rng) for run in stage.runs))
            for stage in stages
        )
    return Scenario(seed=seed, name=name, stages=stages, naive=naive)


def _in_one_step(run: Run, rng: random.Random) -> Run:
    faults = []
    for fault in run.faults:
        place = fault.point, fault.hit
        if fault.point and (fault.step != USAGE or fault.point not in NAIVE_POINTS):
            point = rng.choice(sorted(NAIVE_POINTS))
            place = point, rng.randint(1, NAIVE_POINTS[point])
        faults.append(replace(fault, step=USAGE, point=place[0], hit=place[1]))
    starts_at = run.starts_at and rng.choice(sorted(NAIVE_POINTS))
    return replace(run, first_step=USAGE, faults=tuple(faults), starts_at=starts_at, starts_hit=1)
