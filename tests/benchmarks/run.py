"""`make bench`: every benchmark of this folder, or those named, each in a process of its own.

python tests/benchmarks/run.py [sandbox factory …]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from stack import guarded

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def main(wanted: list[str]) -> int:
    """Run them one after the other; 1 when any missed a target or broke."""
    found = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    unknown = sorted(set(wanted) - set(found))
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are {', '.join(found)}\n")
        return 2
    paths = os.pathsep.join(
        str(ROOT / name) for name in ("plugins", "tools", "sandbox/src", "tests")
    )
    environment = {**os.environ, "PYTHONPATH": paths}
    outcomes = [
        guarded.run(
            [sys.executable, str(found[name])],
            env=environment,
            timeout=4 * 3600,
            stdout=None,
            stderr=None,
        ).returncode
        for name in wanted or found
    ]
    return int(any(outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
