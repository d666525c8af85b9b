"""Announce runs whose last task never ran: their DAG run was failed by hand, or was lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from convergence.pipelines.files.loader import load_dag
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.running.announcements import Announcer
from convergence.state import unannounced_runs
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.store import StateStore
from convergence.state.unannounced_runs import DagRunKey

MAX_RUNS = 5
"""Runs announced by one call: each may wait for a slow mail server."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MissedNotifications:
    """Announces the runs that ended without their last task.

    Attributes:
        configs: the folder of configurations.
        runs_of: returns the org runs of an Airflow run.
        build_announcer: builds the announcer of a pipeline.
    """

    store: StateStore
    configs: Path
    runs_of: Callable[[str, str], Sequence[OrgRun]]
    build_announcer: Callable[[PipelineSpec], Announcer]

    def send_some(self) -> int:
        """Announce the oldest unannounced runs, at most `MAX_RUNS`; return their number.

        A run leaves the list only after its announcement, so a crash in between announces it
        again. The claim on each message then prevents that it is sent twice.
        """
        with self.store.read() as conn:
            waiting = unannounced_runs.list_unannounced(conn, limit=MAX_RUNS)
        for key in waiting:
            self._announce(key)
            with self.store.begin() as conn:
                unannounced_runs.remove_unannounced(conn, key)
        return len(waiting)

    def _announce(self, key: DagRunKey) -> None:
        spec = load_dag(key.dag_id, self.configs)
        if not isinstance(spec, PipelineSpec):
            log.error("%s can't be announced: its pipeline has no valid file", key)
            return
        runs = self.runs_of(*key)
        failed = {
            run.org_slug: run.error.message if run.error else run.status.value
            for run in runs
            if run.status is RunStatus.FAILED
        }
        self.build_announcer(spec).announce_run(dag_run_id=key.dag_run_id, runs=runs, failed=failed)
