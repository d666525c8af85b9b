"""Scenarios are pure and reach every fault; what a reader may see is judged without a warehouse."""

from __future__ import annotations

from collections import Counter

import pytest

from crash.checking.content import Rows, classify
from crash.kinds import KINDS
from crash.points import NAMES, places
from crash.progress import kept_seeds
from crash.scenario import POINTS, STEPS, Action, Wake, scenario
from crash.task import waits

DAY = "2026-02-02"
OLD: Rows = Counter({"a": 1, "b": 1, "c": 1})
NEW: Rows = Counter({"a": 1, "d": 1, "e": 1, "f": 2})
HUNDREDS = [scenario(seed) for seed in range(1, 301)]


def test_a_seed_gives_the_same_scenario_each_time() -> None:
    assert [scenario(seed) for seed in range(1, 301)] == HUNDREDS


def test_three_hundred_seeds_have_every_kind_action_and_moment_of_waking() -> None:
    assert {one.name for one in HUNDREDS} == set(KINDS)
    faults = [fault for one in HUNDREDS for fault in one.faults]
    assert {fault.action for fault in faults} == set(Action)
    stops = [fault for fault in faults if fault.action in {Action.FREEZE, Action.PAUSE}]
    assert {fault.wake for fault in stops} == set(Wake)
    assert any(not fault.point for fault in faults)


def test_three_hundred_seeds_strike_at_every_point_of_every_step() -> None:
    struck = {(fault.step, fault.point) for one in HUNDREDS for fault in one.faults}
    assert struck >= {(step, point) for step in STEPS for point in POINTS[step]}


def test_the_points_of_scenarios_are_those_that_are_put_into_processes() -> None:
    assert {point for points in POINTS.values() for point in points} <= set(NAMES)


def test_every_place_and_wait_that_the_harness_replaces_exists_in_the_product() -> None:
    replaced = [(place.owner, place.name) for place in places()]
    replaced += [(module, name) for module, name, _value in waits()]
    assert [pair for pair in replaced if not hasattr(*pair)] == []
    assert {name for place in places() for name in (place.before, place.after) if name} == set(
        NAMES
    )


def test_runs_that_two_hundred_seeds_have_overlap_with_changed_inputs() -> None:
    changed = [run for one in HUNDREDS for stage in one.stages for run in stage.runs if run.inputs]
    assert len(changed) > 20


def test_kept_seeds_are_numbers_and_each_is_there_once() -> None:
    kept = kept_seeds()
    assert len(kept) == len(set(kept))


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (OLD, None),
        (NEW, None),
        (Counter({"a": 2, "b": 1, "c": 1}), "doubled"),
        (Counter({"a": 1, "b": 1}), "lost"),
        (Counter(), "lost"),
        (Counter({"a": 1, "b": 1, "d": 1}), "mixed"),
        (OLD + NEW, "doubled"),
        (Counter({"z": 1}), "mixed"),
    ],
)
def test_a_day_is_a_complete_version_or_what_is_wrong_with_it_is_named(
    found: Rows, verdict: str | None
) -> None:
    wrong = classify("cost", DAY, found, [OLD, NEW])
    assert (wrong.verdict if wrong else None) == verdict


def test_another_complete_version_than_the_one_expected_is_stale() -> None:
    wrong = classify("cost", DAY, OLD, [NEW], others=[OLD])
    assert wrong is not None
    assert wrong.verdict == "stale"
