"""The kinds of scenarios, and how a random generator fills each."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from crash.scenario import (
    COST,
    POINTS,
    QUALITY,
    STREAM,
    USAGE,
    VERSIONS_OF_PRICES,
    VERSIONS_OF_USAGE,
    Action,
    Fault,
    Inputs,
    Run,
    Stage,
    Wake,
)

Rng = random.Random


@dataclass(frozen=True)
class Kind:
    """How often a kind of scenario comes, and what makes one."""

    weight: int
    make: Callable[[Rng], tuple[Stage, ...]]


def _any_step(rng: Rng) -> str:
    return rng.choices((USAGE, COST, STREAM, QUALITY), weights=(5, 4, 4, 1))[0]


def _draw_place(rng: Rng, step: str) -> tuple[str, int, float]:
    """A named point and its passing, or a moment: two times of three a point."""
    if rng.random() < 0.33:
        return "", 1, round(rng.uniform(0.02, 1.0), 3)
    return *_at_point(rng, step), 0.0


def _at_point(rng: Rng, step: str) -> tuple[str, int]:
    point = rng.choice(sorted(POINTS[step]))
    return point, rng.randint(1, POINTS[step][point])


def kill(rng: Rng, step: str | None = None) -> Fault:
    """SIGKILL, or SIGTERM with some time to end in."""
    step = step or _any_step(rng)
    point, hit, moment = _draw_place(rng, step)
    action = rng.choice((Action.KILL, Action.KILL, Action.TERM))
    down_ms = rng.choice((50, 300, 1500))
    return Fault(step, action, point, hit, moment=moment, down_ms=down_ms)


def freeze(rng: Rng, wakes: tuple[Wake, ...], *, action: Action = Action.FREEZE) -> Fault:
    """SIGSTOP at a point, and SIGCONT later."""
    step = rng.choice((USAGE, COST, STREAM))
    point, hit = _at_point(rng, step)
    return Fault(
        step,
        action,
        point,
        hit,
        wake=rng.choice(wakes),
        wake_ms=rng.choice((0, 0, 30, 120)),
        end_ms=rng.choice((None, None, rng.randint(0, 300))),
    )


def warehouse(rng: Rng) -> Fault:
    """The warehouse dies, or what it says after a commit is lost."""
    step = rng.choice((USAGE, COST, STREAM))
    action = rng.choice(
        (
            Action.DROP_RESPONSE,
            Action.DROP_RESPONSE,
            Action.WAREHOUSE_KILL,
            Action.WAREHOUSE_KILL_AFTER_COMMIT,
        )
    )
    points = ("before_submit", "job_sent", "before_ledger_row", "before_attempt", "job_done")
    at_commit = ("before_submit", "before_ledger_row")
    point = rng.choice(points if action is Action.WAREHOUSE_KILL else at_commit)
    hit = rng.randint(1, POINTS[step][point])
    return Fault(step, action, point, hit, down_ms=rng.choice((0, 200, 600)))


def _inputs(rng: Rng) -> Inputs:
    return Inputs(rng.choice(VERSIONS_OF_USAGE), rng.choice(VERSIONS_OF_PRICES))


def _other(rng: Rng, inputs: Inputs) -> Inputs:
    """Inputs of which at least one differs; mostly the usage, which both steps follow from."""
    usage = "b" if inputs.usage == "a" else "a"
    prices = "q" if inputs.prices == "p" else "p"
    both, usage_only = Inputs(usage, prices), Inputs(usage, inputs.prices)
    return rng.choice((both, usage_only, usage_only, Inputs(inputs.usage, prices)))


def _history(rng: Rng, *, always: bool = False) -> tuple[tuple[Stage, ...], Inputs]:
    """An earlier publication or none, and the inputs of today."""
    before = _inputs(rng)
    if not always and rng.random() < 0.4:
        return (), before
    return (Stage(before, (Run("history"),)),), _other(rng, before)


def one_run(rng: Rng) -> tuple[Stage, ...]:
    """One run, killed up to four times."""
    history, inputs = _history(rng)
    faults = tuple(kill(rng) for _ in range(rng.randint(1, 4)))
    return (*history, Stage(inputs, (Run("one", faults=faults),)))


def frozen_try(rng: Rng) -> tuple[Stage, ...]:
    """A try that is stopped past its heartbeat, and wakes after its successor."""
    history, inputs = _history(rng)
    wakes = (Wake.SUCCESSOR_STARTED, Wake.SUCCESSOR_ENDED, Wake.RUN_ENDED)
    faults = [freeze(rng, wakes)]
    if rng.random() < 0.4:
        faults.append(kill(rng))
    return (*history, Stage(inputs, (Run("one", faults=tuple(faults)),)))


def overlapping_tries(rng: Rng) -> tuple[Stage, ...]:
    """A second try that begins while the first lives on."""
    history, inputs = _history(rng)
    faults = [freeze(rng, (Wake.SUCCESSOR_STARTED,), action=Action.OVERLAP)]
    if rng.random() < 0.4:
        faults.append(kill(rng))
    return (*history, Stage(inputs, (Run("one", faults=tuple(faults)),)))


def two_runs(rng: Rng) -> tuple[Stage, ...]:
    """Two runs of one slice; the second begins while the first is under way.

    One of them is stopped until the other has begun or ended; or the second dies for good, and
    the first, which it had overtaken, must not believe that the day is done.
    """
    history, inputs = _history(rng)
    mode = rng.choice(("first stops", "second stops", "second dies", "none stops"))
    first, second = _two_faults(rng, mode)
    stops = first[0] if first and first[0].action is Action.PAUSE else None
    point, hit = (
        (stops.point, stops.hit) if stops else _at_point(rng, rng.choice((USAGE, COST, STREAM)))
    )
    # What a run has begun and nobody ends may be of either input.
    changes = mode != "second dies" and rng.random() < 0.7
    two = Run(
        "two",
        faults=second,
        starts_at=point,
        starts_hit=hit,
        starts_after_ms=rng.choice((0, 20, 100)),
        inputs=_other(rng, inputs) if changes else None,
        abandoned=mode == "second dies",
    )
    return (*history, Stage(inputs, (Run("one", faults=first), two)))


def _two_faults(rng: Rng, mode: str) -> tuple[tuple[Fault, ...], tuple[Fault, ...]]:
    """The faults of both runs."""
    step = rng.choice((USAGE, COST, STREAM))
    some = tuple(kill(rng) for _ in range(rng.randint(0, 2)))
    if mode == "first stops":
        wakes = (Wake.OTHER_ENDED, Wake.OTHER_STARTED)
        return (freeze(rng, wakes, action=Action.PAUSE),), some
    if mode == "second stops":
        return some[:1], (freeze(rng, (Wake.OTHER_ENDED,), action=Action.PAUSE),)
    if mode == "second dies":
        pause = freeze(rng, (Wake.OTHER_ENDED,), action=Action.PAUSE)
        return (pause,), (Fault(step, Action.KILL, *_at_point(rng, step)),)
    return some[:1], some[1:]


def cleared(rng: Rng) -> tuple[Stage, ...]:
    """A run whose tasks are cleared after its inputs changed."""
    before = _inputs(rng)
    after = _other(rng, before)
    # A task that is cleared takes those after it along; new usage needs the first.
    step = USAGE if after.usage != before.usage else rng.choice((USAGE, COST, STREAM))
    first = tuple(kill(rng) for _ in range(rng.randint(0, 1)))
    again = tuple(kill(rng) for _ in range(rng.randint(0, 2)))
    stages = [
        Stage(before, (Run("one", faults=first),)),
        Stage(after, (Run("one", first_step=step, faults=again),)),
    ]
    if rng.random() < 0.4:
        stages.append(Stage(before, (Run("one", first_step=USAGE),)))
    return tuple(stages)


def broken_warehouse(rng: Rng) -> tuple[Stage, ...]:
    """A warehouse that dies or does not say what it did."""
    history, inputs = _history(rng)
    faults = [warehouse(rng) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.4:
        faults.append(kill(rng))
    return (*history, Stage(inputs, (Run("one", faults=tuple(faults)),)))


def earlier_figures(rng: Rng) -> tuple[Stage, ...]:
    """A provider that returns to earlier figures, with another price, after a run that died.

    In between, a cleared cost task may find usage that no row of the ledger records. It may fail or
    not, but its result must not be taken for the cost of the earlier figures.
    """
    before = _inputs(rng)
    prices = "q" if before.prices == "p" else "p"
    between = Inputs("b" if before.usage == "a" else "a", rng.choice((prices, before.prices)))
    now = Inputs(before.usage, rng.choice((prices, prices, before.prices)))
    point = rng.choice(("job_sent", "job_done", "before_ledger_row", "after_ledger_row"))
    step = rng.choice((USAGE, USAGE, COST, STREAM))
    death = Fault(step, Action.KILL, point, rng.randint(1, 3))
    again = tuple(kill(rng) for _ in range(rng.randint(0, 1)))
    stages = [
        Stage(before, (Run("history"),)),
        Stage(between, (Run("lost", faults=(death,), abandoned=True),)),
    ]
    if rng.random() < 0.6:
        repriced = Inputs(between.usage, now.prices)
        stages.append(Stage(repriced, (Run("history", first_step=COST, abandoned=True),)))
    stages.append(Stage(now, (Run("one", faults=again),)))
    return tuple(stages)


KINDS: dict[str, Kind] = {
    "one run": Kind(4, one_run),
    "frozen try": Kind(3, frozen_try),
    "overlapping tries": Kind(2, overlapping_tries),
    "two runs": Kind(7, two_runs),
    "cleared": Kind(3, cleared),
    "broken warehouse": Kind(3, broken_warehouse),
    "earlier figures": Kind(2, earlier_figures),
}
