"""Make a data directory with the code of an old release, to start today's code on it.

    make old-release        # two orgs, 30 days, under var/old-release
    make old-release ARGS="--orgs 1 --days 5 --pack tests/data/old_release"

Checks the release out next to this tree (`git worktree`), makes its environment from its own lock,
starts its stack as `make up` does, and drives it through its API: onboarding, every provider,
prices, days of usage and bills. `--pack` writes the directory as an archive for the tests, without
logs, caches and the secrets of the machine; the org's key and the sandbox's KMS keys stay, which
protect made-up data only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RELEASE = "550b00536d3b"
FOLDER = REPOSITORY / "var" / "old-release"
LEFT_OUT = (
    "log",
    "airflow/airflow.cfg",
    "airflow/logs",
    "airflow/passwords.json",
    "sandbox/sandbox.log",
    "secrets/stack.json",
)
SETUP_SECONDS = 1800
DRIVE_SECONDS = 7200


def main() -> int:
    """Make the directory, and the archive if one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", default=RELEASE, help="commit of the old release")
    parser.add_argument("--orgs", type=int, default=2, choices=(1, 2))
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where the release is checked out"
    )
    parser.add_argument("--pack", type=Path, help="folder for data.tar.xz and recorded.json")
    arguments = parser.parse_args()
    tree = check_out(arguments.release, arguments.folder.resolve() / "tree")
    data = arguments.folder.resolve() / f"data-{arguments.orgs}-orgs-{arguments.days}-days"
    shutil.rmtree(data, ignore_errors=True)
    drive(tree, data, orgs=arguments.orgs, days=arguments.days)
    print(f"==> {data}")
    if arguments.pack:
        print(f"==> {pack(data, arguments.pack)}")
    return 0


def check_out(release: str, tree: Path) -> Path:
    """Check the release out and make its environment; a second call finds both made."""
    if not (tree / ".git").exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        add = ["git", "worktree", "add", "--detach", str(tree), release]
        subprocess.run(add, cwd=REPOSITORY, check=True, timeout=SETUP_SECONDS)
    setup = ["make", "-C", str(tree), "setup", f"PYTHON={sys.executable}"]
    subprocess.run(setup, env=_environment(), check=True, timeout=SETUP_SECONDS)
    return tree


def drive(tree: Path, data: Path, *, orgs: int, days: int) -> None:
    """Fill `data` through the old release's API; ports come from this process's environment."""
    env = _environment() | {
        "PYTHONPATH": os.pathsep.join((str(tree / "plugins"), str(tree / "include"))),
        "CONVERGENCE_VAR_DIR": str(data),
    }
    driver = Path(__file__).with_name("old_release_drive.py")
    command = [str(tree / ".venv" / "bin" / "python"), str(driver)]
    command += ["--orgs", str(orgs), "--days", str(days)]
    subprocess.run(command, cwd=tree, env=env, check=True, timeout=DRIVE_SECONDS)


def pack(data: Path, folder: Path) -> Path:
    """Write `data.tar.xz` and `recorded.json` for the tests; owners and times left out."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "recorded.json", folder / "recorded.json")
    archive = folder / "data.tar.xz"
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        for path in sorted(data.rglob("*")):
            name = path.relative_to(data).as_posix()
            if path.is_file() and not _is_left_out(name):
                packed.add(path, arcname=name, filter=_anonymous)
    return archive


def _is_left_out(name: str) -> bool:
    return name == "recorded.json" or any(
        name == left or name.startswith(f"{left}/") for left in LEFT_OUT
    )


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _environment() -> dict[str, str]:
    # An environment that is active here would be taken for the old release's.
    mine = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL")
    return {name: value for name, value in os.environ.items() if name not in mine}


if __name__ == "__main__":
    sys.exit(main())
