"""`make breaks`: break each part of the Celery stack in turn and print what happened.

python tests/e2e/breaks/run.py [worker scheduler …]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from e2e.breaks.stage import Outcome, Stage
from e2e.breaks.strikes import BREAKS, Break
from e2e.harness import only_loopback, start_stack

RUN_LIMIT_SECONDS = 90.0
START_LIMIT_SECONDS = 30.0
STOPS_WITHIN_SECONDS = 150.0
_HEAD = (
    f"{'break':<22}{'when':<16}{'run ends':>10}{'status':>9}"
    f"{'next org starts':>17}{'ends':>8}{'status':>9}  figures"
)


def main(chosen: list[str]) -> int:
    """Run the breaks, all or those named; 1 when one missed a limit."""
    by_name = {one.name: one for one in BREAKS}
    unknown = sorted(set(chosen) - set(by_name))
    if unknown:
        names = ", ".join(by_name)
        sys.stderr.write(f"no break {', '.join(unknown)}; there are {names}\n")
        return 2
    # PostgreSQL runs as a user of its own, which must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="breaks-"))
    folder.chmod(0o755)
    stack = start_stack(folder / "var", celery=True)
    stage = Stage(stack)
    good = True
    try:
        only_loopback(stack)
        stage.prepare()
        _print(_HEAD)
        for one in [by_name[name] for name in chosen] or BREAKS:
            good &= _perform(stage, one)
    finally:
        stage.close()
        stack.stop(within=STOPS_WITHIN_SECONDS)
        if good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _print(f"logs: {folder / 'var' / 'log'}")
    return int(not good)


def _perform(stage: Stage, one: Break) -> bool:
    try:
        outcome = stage.perform(one)
    except (AssertionError, LookupError, TimeoutError) as error:
        _print(f"{one.name:<22}{one.moment:<16}{str(error)[:400]}")
        return False
    _print(_table_row(outcome))
    return is_good(outcome)


def is_good(outcome: Outcome) -> bool:
    """Whether a break stayed within the limits and cost no figure."""
    return (
        outcome.equal
        and outcome.status == outcome.other_status == "SUCCESS"
        and outcome.run_seconds <= RUN_LIMIT_SECONDS
        and outcome.start_seconds <= START_LIMIT_SECONDS
    )


def _table_row(one: Outcome) -> str:
    figures = "equal" if one.equal else "DIFFERENT"
    said = f"  {one.said}" if one.said else ""
    return (
        f"{one.name:<22}{one.moment:<16}{one.run_seconds:>8.1f} s{one.status:>9}"
        f"{one.start_seconds:>15.1f} s{one.other_seconds:>6.1f} s{one.other_status:>9}"
        f"  {figures}{said}"
    )


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
