"""The named points, put around the product's own functions in a child process of the tests.

Only here does the product meet a fault: nothing in it knows of points.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
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
        pipe: tells the parent of each point.
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


def install(points: Points) -> None:
    """Put the points into this process."""
    from google.cloud import bigquery

    from convergence.extract.disk import Disk
    from convergence.processors.steplog import StepLog
    from convergence.runs import publisher
    from convergence.runs.ledger import Ledger
    from convergence.runs.publisher import Publisher

    around(points, Disk, "sync", before="before_fsync", after="after_fsync")
    around(points, Disk, "rename", before="before_rename", after="after_rename")
    around(points, StepLog, "started", after="step_started")
    around(points, StepLog, "finished", before="before_step_recorded", after="step_recorded")
    around(
        points,
        Publisher,
        "begin",
        before="before_attempt",
        after="attempt_taken",
        details=lambda result: {"taken": {key.id: one.number for key, one in result.items()}},
    )
    _submits(points, bigquery.Client, "load_table_from_file")
    _submits(points, bigquery.Client, "query")
    around(points, publisher, "load_partition", after="job_done")
    around(points, publisher, "query_partition", after="job_done")
    around(points, Publisher, "_totals", before="before_totals", after="after_totals")
    around(points, Ledger, "record", before="before_ledger_row", after="after_ledger_row")


def around(
    points: Points,
    owner: Any,  # a class or a module
    name: str,
    *,
    before: str = "",
    after: str = "",
    details: Callable[[Any], dict[str, object]] = lambda _: {},
    only: Callable[[dict[str, Any]], bool] = lambda _: True,
) -> None:
    """Replace a function of a class or module by one that passes points before and after it."""
    inner = getattr(owner, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        counts = only(kwargs)
        if before and counts:
            points.reach(before)
        result = inner(*args, **kwargs)
        if after and counts:
            points.reach(after, **details(result))
        return result

    setattr(owner, name, outer)


def _submits(points: Points, owner: type, name: str) -> None:
    """Jobs under an id of their own are those that publish."""

    def publishes(kwargs: dict[str, Any]) -> bool:
        return kwargs.get("job_id") is not None

    around(points, owner, name, before="before_submit", after="job_sent", only=publishes)
