"""Check pipeline files without Airflow: `python -m convergence.pipelines.lint [PATH…]`.

Settings, message templates, suites of expectations and SQL files are checked beside them. Prints
every fault of every file with two lines of context and exits 1; `--short` prints a line each, as
editors and CI annotations read them. A PATH is a file or a folder under the folder of
configurations (`--root`); without one, everything is checked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convergence.pipelines.files.all_violations import find_violations
from convergence.pipelines.files.loader import find_pipeline_files
from convergence.pipelines.files.settings_files import find_settings_files
from convergence.pipelines.files.sql.files import find_sql_files
from convergence.pipelines.files.suites import find_suites
from convergence.pipelines.files.violations import Violation
from convergence.settings import PROJECT_ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 without faults, 1 with faults, 2 when asked wrongly."""
    options = _parser().parse_args(arguments)
    root: Path = options.root.resolve()
    if not root.is_dir():
        return _refuse(f"{options.root} is not a folder")
    for path in options.paths:
        if fault := _wrong_path(path, root):
            return _refuse(f"{path} {fault}")
    chosen = [_told(path.resolve(), root) for path in options.paths]
    # All are read in any case: a name may be claimed by a file that was not asked about.
    found = sorted([*find_violations(root), *_syntax(root)], key=lambda fault: fault.place)
    faults = [fault for fault in found if _is_chosen(fault.path, chosen)]
    checked = [path for path in _files(root) if _is_chosen(_told(path, root), chosen)]
    _print(faults, short=options.short)
    files = len({fault.path for fault in faults})
    _say(f"{len(checked)} files checked, {len(faults)} faults in {files}")
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lint-configs", description="Check the configurations.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--root", type=Path, default=PROJECT_ROOT / "include" / "configs")
    parser.add_argument("--short", action="store_true", help="one line for each fault")
    return parser


def _syntax(root: Path) -> list[Violation]:
    from convergence.pipelines.files.sql.syntax import check_sql_syntax

    return [fault for path in find_sql_files(root) for fault in check_sql_syntax(path, root)]


def _wrong_path(path: Path, root: Path) -> str | None:
    if not path.exists():
        return "does not exist"
    if not path.resolve().is_relative_to(root):
        return f"is not under {root}"
    if path.is_file() and path.resolve() not in _files(root):
        return "is neither a pipeline nor settings nor SQL"
    return None


def _files(root: Path) -> list[Path]:
    return [
        *find_pipeline_files(root),
        *find_settings_files(root),
        *find_suites(root),
        *find_sql_files(root),
    ]


def _is_chosen(path: str, chosen: Sequence[str]) -> bool:
    return not chosen or any(one in (".", path) or path.startswith(f"{one}/") for one in chosen)


def _told(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _print(faults: Sequence[Violation], *, short: bool) -> None:
    for fault in faults:
        _say(str(fault) if short else f"{fault.long()}\n")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _refuse(message: str) -> int:
    sys.stderr.write(f"lint-configs: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
