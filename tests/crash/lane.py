"""A lane: one process with servers of its own that carries out one seed after the other."""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from crash.checking.checks import Findings, check
from crash.platform import Platform
from crash.processes import Pipe
from crash.scenario import scenario


def lane(
    seeds: Sequence[int], *, naive: bool, folder: Path, kept_logs: Path
) -> Callable[[Pipe], None]:
    """What a lane's process does: each seed in turn; the findings go through the pipe."""

    def main(pipe: Pipe) -> None:
        platform = Platform.start(folder)
        try:
            for seed in seeds:
                findings = carry_out(seed, platform, naive=naive)
                _keep_log(findings, platform, kept_logs)
                pipe.send(findings=asdict(findings))
        finally:
            platform.stop()

    return main


def carry_out(seed: int, platform: Platform, *, naive: bool) -> Findings:
    """The findings of a seed; an error of the harness is one of them."""
    began = time.monotonic()
    plan = scenario(seed, naive=naive)
    try:
        platform.tidy()
        findings = check(plan, platform)
    except Exception as error:  # noqa: BLE001  # the loop goes on with the next seed
        traceback.print_exc()
        findings = Findings(seed, plan.name, [f"harness: {type(error).__name__}: {error}"])
    findings.seconds = time.monotonic() - began
    return findings


def _keep_log(findings: Findings, platform: Platform, kept_logs: Path) -> None:
    """Keep what the tries of a failing seed wrote; remove what those of a good one did."""
    log = platform.log_of(findings.seed)
    if findings.wrong and log.exists():
        kept_logs.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, kept_logs / log.name)
    log.unlink(missing_ok=True)
