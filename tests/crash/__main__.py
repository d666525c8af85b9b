"""`make crash SEEDS=n [FROM=…] [SEED=…]`: carry out seeds, and say what they found."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from convergence.settings import PROJECT_ROOT
from crash.checking.checks import Findings
from crash.lane import lane
from crash.preload import preload
from crash.processes import Child, fork
from crash.progress import Progress, kept_seeds, line_of, summary

FOLDER = PROJECT_ROOT / "var" / "crash"
MOST_LANES = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out the seeds; 1 where something was wrong."""
    options = _options(argv)
    seeds = _seeds(options)
    folder = Path(options.folder)
    progress = Progress(folder / "progress.ndjson", naive=options.naive)
    todo = [seed for seed in seeds if options.seed or not _is_done(progress, seed)]
    if len(todo) < len(seeds):
        print(f"{len(seeds) - len(todo)} seeds are done already", flush=True)
    if todo:
        preload()
        _carry_out(todo, progress, folder, options)
    found = [progress.done[seed] for seed in seeds if seed in progress.done]
    print(summary(found, naive=options.naive))
    if todo:
        print(f"CPU per seed         {_cpu() / len(todo):.1f} s")
    complete = len(found) == len(seeds)
    return 0 if complete and not any(one.wrong for one in found) else 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=20, help="how many, in addition to the kept ones"
    )
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", help="this one only, or several with commas: replay them")
    parser.add_argument("--naive", action="store_true", help="over the naive append loader")
    parser.add_argument("--lanes", type=int, default=MOST_LANES, choices=range(1, MOST_LANES + 1))
    parser.add_argument("--folder", default=str(FOLDER), help="where progress and logs are kept")
    return parser.parse_args(argv)


def _seeds(options: argparse.Namespace) -> list[int]:
    if options.seed:
        return [int(seed) for seed in options.seed.split(",")]
    kept = [] if options.naive else kept_seeds()
    return list(dict.fromkeys([*kept, *range(options.first, options.first + options.seeds)]))


def _is_done(progress: Progress, seed: int) -> bool:
    return seed in progress.done and not progress.done[seed].wrong


def _carry_out(
    todo: Sequence[int], progress: Progress, folder: Path, options: argparse.Namespace
) -> None:
    _remove_left_over(folder)
    lanes = [
        fork(
            lane(
                todo[number :: options.lanes],
                naive=options.naive,
                folder=folder / f"lane-{os.getpid()}-{number}",
                kept_logs=folder / "logs",
            )
        )
        for number in range(min(options.lanes, len(todo)))
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        seen = [0] * len(lanes)
        while any(child.status is None for child in lanes):
            for number, child in enumerate(lanes):
                child.poll()
                for message in child.messages[seen[number] :]:
                    findings = Findings(**message["findings"])
                    progress.add(findings)
                    print(line_of(findings), flush=True)
                seen[number] = len(child.messages)
            time.sleep(0.05)
    finally:
        _end(lanes)
        _remove_left_over(folder)


def _end(lanes: Sequence[Child]) -> None:
    """What the lanes started ends with them."""
    for child in lanes:
        if child.status is None:
            child.end()


def _remove_left_over(folder: Path) -> None:
    """Remove what lanes of loops that were killed have kept."""
    for one in folder.glob("lane-*"):
        pid = one.name.split("-")[1]
        if pid == str(os.getpid()) or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(one, ignore_errors=True)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    sys.exit(main())
