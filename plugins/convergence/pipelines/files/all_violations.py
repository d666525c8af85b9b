"""Every fault of the folder of configurations: pipelines, settings, templates, suites, SQL."""

from __future__ import annotations

import time
from pathlib import Path

from convergence.file_versions import file_versions
from convergence.pipelines.files.check_cache import CheckCache
from convergence.pipelines.files.loader import load_all
from convergence.pipelines.files.settings_files import check_settings_files
from convergence.pipelines.files.sql.files import check_sql_files
from convergence.pipelines.files.violations import PipelineFilesError, Violation
from convergence.settings import get_settings

_CODE = Path(__file__).resolve().parents[2]
_KEPT = Path("cache", "config_check.json")


def find_violations(root: Path) -> tuple[Violation, ...]:
    """Every fault of every file, by place."""
    faults = [*load_all(root).faults, *check_settings_files(root), *check_sql_files(root)]
    return tuple(sorted(faults, key=lambda fault: fault.place))


def raise_violations(root: Path | None = None) -> None:
    """Raise one error that lists every fault of every file, if there is any.

    Without a `root` the configured folder is checked, and only when a file of it or of the code
    has changed since the last check; what was found then is kept below `CONVERGENCE_VAR_DIR`.

    Raises:
        PipelineFilesError: its message is the list.
    """
    faults = find_violations(root) if root else _unless_unchanged()
    if faults:
        raise PipelineFilesError(faults)


def _unless_unchanged() -> tuple[Violation, ...]:
    settings = get_settings()
    root = settings.configs_dir
    versions = file_versions(root) | file_versions(_CODE, suffix=".py")
    cache = CheckCache(settings.var_dir / _KEPT, now_ns=time.time_ns)
    return cache.get(versions, lambda: find_violations(root))
