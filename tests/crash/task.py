"""One try of one step in a process of its own, as Airflow's worker runs it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, cast

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from convergence.processors import connect
from convergence.processors.base import OrgProcessor
from convergence.processors.batch import Batch, OrgSlice
from convergence.processors.context import TaskServices
from convergence.processors.lib.daily import overtaken
from convergence.processors.registry import find_operator
from convergence.runs import publisher
from convergence.runs.heartbeat import hold_heartbeat
from convergence.runs.records import RunRecords
from convergence.state import attempts
from crash import naive
from crash.platform import Platform, days
from crash.points import Points, install
from crash.processes import Pipe
from crash.scenario import STEPS, USAGE, Fault

HEARTBEAT_LIMIT = 2.0
"""Seconds after which a process whose heart does not beat counts as dead: 30 times faster than in
production, and so is all else that waits."""
FASTER = attempts.HEARTBEAT_STALE.total_seconds() / HEARTBEAT_LIMIT
LONGEST_TRY = timedelta(minutes=3)
"""A step's `execution_timeout`."""


@dataclass(frozen=True)
class Try:
    """Which try of which step.

    Attributes:
        run_id: of the org run.
        number: Airflow's number of the try.
        max_tries: Airflow's; a try with a higher number is the last.
        fault: that strikes it.
        naive: whether the naive loader does the step.
    """

    org: str
    run_id: str
    step: str
    number: int
    max_tries: int
    day_count: int
    fault: Fault | None
    naive: bool
    log: Path


def run_try(job: Try, platform: Platform, pipe: Pipe) -> None:
    """Run the try in this process, which ends with it; the pipe receives how it ended."""
    with job.log.open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    print(f"--- {job.run_id} {job.step} try {job.number}, pid {os.getpid()}", flush=True)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
    fault = job.fault if job.fault and job.fault.point else None
    points = Points(pipe, fault)
    install(points)
    _shorten_waits()
    try:
        if job.naive:
            naive.load(job, platform, points)
        else:
            _operate(job, platform)
    except AirflowFailException as error:
        traceback.print_exc()
        pipe.send(ended="failed", why=str(error))
    except AirflowException as error:
        traceback.print_exc()
        pipe.send(ended="retry", why=str(error))
    except Exception as error:  # noqa: BLE001  # a task that ends so is tried again
        traceback.print_exc()
        pipe.send(ended="retry", why=f"{type(error).__name__}: {error}")
    else:
        pipe.send(ended="success")
    sys.stdout.flush()
    sys.stderr.flush()


def waits() -> list[tuple[object, str, object]]:
    """What the product waits between two looks, by module and name, and a shorter time for it."""
    every = attempts.HEARTBEAT_EVERY.total_seconds() / FASTER
    return [
        (attempts, "HEARTBEAT_STALE", timedelta(seconds=HEARTBEAT_LIMIT)),
        (publisher, "hold_heartbeat", partial(hold_heartbeat, every=every)),
        (overtaken, "POLL_SECONDS", overtaken.POLL_SECONDS / FASTER),
        (overtaken, "LEDGER_SECONDS", overtaken.LEDGER_SECONDS / FASTER),
    ]


def _shorten_waits() -> None:
    for module, name, value in waits():
        getattr(module, name)  # an AttributeError where the product has it no more
        setattr(module, name, value)


def _operate(job: Try, platform: Platform) -> None:
    """The operator's own `execute`, with the services of this platform."""
    spec = platform.spec
    step = next(one for one in spec.steps if one.step == job.step)
    kind = cast("type[OrgProcessor[Any]]", find_operator(step.ps_type))
    requested = tuple(sorted(days(job.day_count), reverse=True))
    batch = Batch(job.org, (OrgSlice(job.org, job.run_id, requested),))
    operator = kind(
        task_id=step.step,
        config=step.config,
        pipeline=spec.build_info(),
        batch=batch.to_dict(),
        execution_timeout=LONGEST_TRY,
    )

    @contextmanager
    def services() -> Iterator[TaskServices]:
        made = platform.services()
        try:
            yield made
        finally:
            made.store.close()

    connect.open_services = services

    def on_term(_number: int, _frame: FrameType | None) -> None:
        operator.on_kill()  # all that Airflow's own handler does

    signal.signal(signal.SIGTERM, on_term)
    ti = SimpleNamespace(
        try_number=job.number,
        max_tries=job.max_tries,
        task_id=step.step,
        dag_id=spec.dag_id,
        run_id=job.run_id,
        map_index=0,
    )
    context = {"ti": ti, "dag_run": SimpleNamespace(run_id=job.run_id, conf={})}
    print(operator.execute(cast("Any", context)), flush=True)


def steps_of(*, naive: bool) -> tuple[str, ...]:
    """The steps of a run; the naive loader has only the first."""
    return (USAGE,) if naive else STEPS


def records_of(platform: Platform) -> RunRecords:
    """The run records of the platform's store."""
    return RunRecords(platform.env.services.store)
