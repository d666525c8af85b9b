"""The named points, put around the product's own functions in a child process of the tests.

Only here does the product meet a fault: nothing in it knows of points.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from crash.processes import Pipe
from crash.scenario import WAREHOUSE_ACTIONS, Action, Fault

NAMES = (
    *("step_started", "before_step_recorded", "step_recorded"),
    *("before_attempt", "attempt_taken"),
    *("before_fsync", "after_fsync", "before_rename", "after_rename"),
    *("before_submit", "job_sent", "job_done"),
    *("before_totals", "after_totals"),
    *("before_ledger_row", "after_ledger_row"),
)


class Points:
    """Counts the points that this process passes, and lets its fault strike.

    Args:
        pipe: reports each point to the parent.
        fault: the one that is to strike here, if any.
    """

    def __init__(self, pipe: Pipe, fault: Fault | None) -> None:
        self._pipe = pipe
        self._fault = fault
        self._passed: Counter[str] = Counter()

    def reach(self, name: str, **details: object) -> None:
        """Pass a point."""
        self._passed[name] += 1
        self._pipe.send(point=name, hit=self._passed[name], **details)
        fault = self._fault
        if fault and fault.point == name and fault.hit == self._passed[name]:
            self._fault = None
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        self._pipe.send(struck=fault.action.value)
        if fault.action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.action is Action.TERM:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            # The parent sees the stop, does what the fault says, and continues this process.
            assert fault.action in WAREHOUSE_ACTIONS | {
                Action.FREEZE,
                Action.PAUSE,
                Action.OVERLAP,
            }
            os.kill(os.getpid(), signal.SIGSTOP)


@dataclass(frozen=True)
class Place:
    """A function of the product, or of BigQuery's client, and the points before and after it.

    Attributes:
        owner: a class or a module.
        details: of the function's result, sent with the point after it.
        only: which calls pass the points, by their keyword arguments.
    """

    owner: Any
    name: str
    before: str = ""
    after: str = ""
    details: Callable[[Any], dict[str, object]] = lambda _: {}
    only: Callable[[dict[str, Any]], bool] = lambda _: True


def places() -> list[Place]:
    """Every place that has points."""
    from google.cloud import bigquery

    from convergence.extract.storage.disk import Disk
    from convergence.processors.steplog import StepLog
    from convergence.runs import publisher
    from convergence.runs.ledger import Ledger
    from convergence.runs.publisher import Publisher

    return [
        Place(Disk, "sync", "before_fsync", "after_fsync"),
        Place(Disk, "rename", "before_rename", "after_rename"),
        Place(StepLog, "record_start", after="step_started"),
        Place(StepLog, "record_end", "before_step_recorded", "step_recorded"),
        Place(
            Publisher,
            "begin_attempts",
            "before_attempt",
            "attempt_taken",
            details=lambda result: {"taken": {key.id: one.number for key, one in result.items()}},
        ),
        Place(
            bigquery.Client, "load_table_from_file", "before_submit", "job_sent", only=_publishes
        ),
        Place(bigquery.Client, "query", "before_submit", "job_sent", only=_publishes),
        Place(publisher, "load_partition", after="job_done"),
        Place(publisher, "query_partition", after="job_done"),
        Place(Publisher, "_totals", "before_totals", "after_totals"),
        Place(Ledger, "append_rows", "before_ledger_row", "after_ledger_row"),
    ]


def install(points: Points) -> None:
    """Put the points into this process."""
    for place in places():
        _wrap(points, place)


def _wrap(points: Points, place: Place) -> None:
    inner = getattr(place.owner, place.name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        counts = place.only(kwargs)
        if place.before and counts:
            points.reach(place.before)
        result = inner(*args, **kwargs)
        if place.after and counts:
            points.reach(place.after, **place.details(result))
        return result

    setattr(place.owner, place.name, outer)


def _publishes(kwargs: dict[str, Any]) -> bool:
    """Jobs under an id of their own are those that publish."""
    return kwargs.get("job_id") is not None
