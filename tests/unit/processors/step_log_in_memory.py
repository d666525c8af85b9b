"""A step log that keeps its records in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from convergence.metering import Used
from convergence.state.org_runs import OrgRun, RunError
from convergence.state.org_steps import OrgStep, StepStatus


@dataclass
class FakeStepLog:
    runs: dict[str, OrgRun] = field(default_factory=dict)
    recorded: dict[tuple[str, str], OrgStep] = field(default_factory=dict)
    reopened: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get_run(self, run_id: str) -> OrgRun | None:
        return self.runs.get(run_id)

    def list_steps(self, run_id: str) -> dict[str, OrgStep]:
        with self.lock:
            return {step: one for (run, step), one in self.recorded.items() if run == run_id}

    def list_attempts(self, step: str, *, run_ids: Collection[str]) -> dict[str, OrgStep]:
        with self.lock:
            return {
                run: one
                for (run, name), one in self.recorded.items()
                if name == step and run in run_ids
            }

    def keep_results(self, step: str, *, run_ids: Collection[str], max_tries: int) -> None:
        with self.lock:
            for run in run_ids:
                self.recorded[run, step] = replace(self.recorded[run, step], max_tries=max_tries)

    def reopen_run(self, run_id: str, *, now: datetime) -> bool:
        self.reopened.append(run_id)
        return True

    def record_start(self, step: OrgStep) -> bool:
        with self.lock:
            known = self.recorded.get((step.run_id, step.step))
            if known is not None and known.attempt > step.attempt:
                return False
            self.recorded[step.run_id, step.step] = step
            return True

    def record_end(
        self,
        step: OrgStep,
        *,
        status: StepStatus,
        now: datetime,
        rows_processed: int | None = None,
        destination_table: str | None = None,
        error: RunError | None = None,
        result: Mapping[str, Any] | None = None,
        used: Used | None = None,
    ) -> bool:
        with self.lock:
            known = self.recorded[step.run_id, step.step]
            if known.attempt != step.attempt or known.status is not StepStatus.RUNNING:
                return False
            self.recorded[step.run_id, step.step] = replace(
                step,
                status=status,
                ended_at=now,
                rows_processed=rows_processed,
                destination_table=destination_table,
                error=error,
                result=result,
                used=used or {},
            )
            return True
