"""schemathesis against the app: every check, over real HTTP, with keys that open it.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/integration/api/fuzz.py --seconds 600
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from stack import guarded
from support.api.env import ROOT_KEY
from support.api.served import Served, served

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
DOCUMENT = ROOT / "docs" / "openapi.json"
CONFIG = HERE / "schemathesis.toml"


def main() -> int:
    """Send requests for the requested time; return schemathesis' exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=None)
    told = parser.parse_args()
    logging.disable(logging.INFO)
    seed = [] if told.seed is None else ["--seed", str(told.seed)]
    with tempfile.TemporaryDirectory(prefix="fuzz-api-") as folder, served(Path(folder)) as app:
        return run_schemathesis(app, Path(folder), f"--max-time={told.seconds}", *seed).returncode


def run_schemathesis(
    app: Served, folder: Path, *options: str, quietly: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis on a served app.

    Args:
        app: what is asked.
        folder: where schemathesis keeps what it keeps.
        options: further options of `schemathesis run`.
        quietly: keep what it says for the caller instead of printing it.
    """
    own, other = app.residents
    environment = {
        "FUZZ_ROOT_KEY": ROOT_KEY,
        "FUZZ_ORG_KEY": own.key,
        "FUZZ_ORG": own.slug,
        "FUZZ_OTHER_ORG": other.slug,
        "FUZZ_RUN_ID": own.run_id,
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("plugins", "tests")),
    }
    command = [
        sys.executable, "-m", "schemathesis.cli", f"--config-file={CONFIG}", "run", str(DOCUMENT),
        f"--url={app.url}", "--continue-on-failure", *options,
    ]  # fmt: skip
    stream = subprocess.PIPE if quietly else None
    return guarded.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=3600,
        stdout=stream,
        stderr=stream,
    )


if __name__ == "__main__":
    sys.exit(main())
