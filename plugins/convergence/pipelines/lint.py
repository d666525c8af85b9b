"""Check pipeline files without Airflow: `python -m convergence.pipelines.lint [PATH…]`.

The command also checks settings, message templates, suites of expectations and SQL files. It
prints every violation with two lines of context and exits 1; `--short` prints one line per
violation, for editors and CI annotations. A PATH is a file or a folder under the folder of
configurations (`--root`); without a PATH everything is checked.
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
    """Run the command; return 0 without violations, 1 with violations, 2 for wrong arguments."""
    options = _build_parser().parse_args(arguments)
    root: Path = options.root.resolve()
    if not root.is_dir():
        return _fail(f"{options.root} is not a folder")
    for path in options.paths:
        if problem := _find_path_problem(path, root):
            return _fail(f"{path} {problem}")
    chosen = [_relative_name(path.resolve(), root) for path in options.paths]
    # Every file is read, since a file outside the given paths may claim the same name.
    found = sorted(
        [*find_violations(root), *_check_syntax(root)], key=lambda violation: violation.place
    )
    violations = [violation for violation in found if _is_chosen(violation.path, chosen)]
    checked = [path for path in _list_files(root) if _is_chosen(_relative_name(path, root), chosen)]
    _print_violations(violations, short=options.short)
    files = len({violation.path for violation in violations})
    _print_line(f"{len(checked)} files checked, {len(violations)} errors in {files}")
    return 1 if violations else 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lint-configs", description="Check the configurations.")
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH")
    parser.add_argument("--root", type=Path, default=PROJECT_ROOT / "include" / "configs")
    parser.add_argument("--short", action="store_true", help="print one line per violation")
    return parser


def _check_syntax(root: Path) -> list[Violation]:
    from convergence.pipelines.files.sql.syntax import check_sql_syntax

    return [
        violation for path in find_sql_files(root) for violation in check_sql_syntax(path, root)
    ]


def _find_path_problem(path: Path, root: Path) -> str | None:
    if not path.exists():
        return "does not exist"
    if not path.resolve().is_relative_to(root):
        return f"is not under {root}"
    if path.is_file() and path.resolve() not in _list_files(root):
        return "is neither a pipeline nor settings nor SQL"
    return None


def _list_files(root: Path) -> list[Path]:
    return [
        *find_pipeline_files(root),
        *find_settings_files(root),
        *find_suites(root),
        *find_sql_files(root),
    ]


def _is_chosen(path: str, chosen: Sequence[str]) -> bool:
    return not chosen or any(one in (".", path) or path.startswith(f"{one}/") for one in chosen)


def _relative_name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _print_violations(violations: Sequence[Violation], *, short: bool) -> None:
    for violation in violations:
        _print_line(str(violation) if short else f"{violation.render_excerpt()}\n")


def _print_line(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _fail(message: str) -> int:
    sys.stderr.write(f"lint-configs: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
