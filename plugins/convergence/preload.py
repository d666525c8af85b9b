"""Import our own code once, in the processes that fork a process for each task and each file.

A task that is forked from a component with the code in memory takes a third of the CPU time of
one that imports it. A component does so where `CONVERGENCE_PRELOAD=all` says that the code stays
the same while it runs: in the image, and in the local stack.

That promise is checked, since a task must never mix two versions of the code: before each fork
the component looks whether a file has changed. From the first change on, the code is dropped from
its memory and each task imports its own, as without the setting.
"""

from __future__ import annotations

import logging
import os
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path

from convergence.file_versions import FileVersions, changed_files, file_versions

_ROOT = Path(__file__).resolve().parent
_PACKAGE = __name__.partition(".")[0]
_LEFT_OUT = (
    # No task needs them: the HTTP API, Airflow's executors, the revisions of the state store.
    f"{_PACKAGE}.api",
    f"{_PACKAGE}.executors",
    f"{_PACKAGE}.state.migrations",
    # Polars starts threads when it is imported, and no thread survives a fork.
    *(
        f"{_PACKAGE}.processors.aws.{name}"
        for name in (
            *("line_columns", "line_costs", "line_reader", "line_sums"),
            *("loading", "name_pairs", "normalise", "period"),
        )
    ),
)

log = logging.getLogger(__name__)


def preload() -> None:
    """Import every module that a task may need, and check the code before each fork."""
    guard = CodeGuard(_ROOT, drop=drop_modules)
    for name in module_names():
        _import_module(name)
    _check_before_forks(guard)


def _check_before_forks(guard: CodeGuard) -> None:
    os.register_at_fork(before=guard.check)


def _import_module(name: str) -> None:
    try:
        import_module(name)
    except Exception as error:  # noqa: BLE001  # the component starts whatever a module raises
        log.warning(
            "%s can't be imported before the fork (%s); each task that needs it tries again",
            name,
            error,
        )


def module_names() -> Iterator[str]:
    """Yield the names of the modules to import, packages before their modules."""
    yield from _walk_package(import_module(_PACKAGE).__path__, prefix=f"{_PACKAGE}.")


def drop_modules() -> None:
    """Forget our modules, so that their next user imports them again."""
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]


class CodeGuard:
    """Drops the imported code once a file of it is no longer what it was."""

    def __init__(self, root: Path, *, drop: Callable[[], None]) -> None:
        """Remember the files of the code as they are now, before they are imported."""
        self._root = root
        self._drop = drop
        self._imported: FileVersions | None = file_versions(root, suffix=".py")

    def check(self) -> None:
        """Compare the code with what was imported; at the first difference drop it and warn."""
        if self._imported is None:
            return
        changed = changed_files(self._imported, file_versions(self._root, suffix=".py"))
        if not changed:
            return
        self._imported = None
        self._drop()
        log.warning(
            "The code changed after this component had imported it (%s). From now on each task"
            " imports it again, which takes it longer; restart the component, or unset"
            " CONVERGENCE_PRELOAD while you work on the code.",
            ", ".join(changed[:3]) + (", …" if len(changed) > 3 else ""),
        )


def _walk_package(paths: Iterable[str], *, prefix: str) -> Iterator[str]:
    for module in pkgutil.iter_modules(paths, prefix):
        if module.name in _LEFT_OUT or module.name.endswith(".__main__"):
            continue
        yield module.name
        if module.ispkg:
            yield from _walk_package(import_module(module.name).__path__, prefix=f"{module.name}.")
