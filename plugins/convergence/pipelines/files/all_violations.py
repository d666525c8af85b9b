"""Check every file of the configuration folder: pipelines, settings, templates, suites, SQL."""

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
_CACHE_FILE = Path("cache", "config_check.json")


def find_violations(root: Path) -> tuple[Violation, ...]:
    """Return every violation of every file, in the order of their places."""
    violations = [*load_all(root).violations, *check_settings_files(root), *check_sql_files(root)]
    return tuple(sorted(violations, key=lambda violation: violation.place))


def raise_violations(root: Path | None = None) -> None:
    """Raise one error that lists every violation of every file, if there is any.

    Without `root` the configured folder is checked. The result is cached below
    `CONVERGENCE_VAR_DIR` until a configuration file or a file of the code changes.

    Raises:
        PipelineFilesError: its message is the list.
    """
    violations = find_violations(root) if root else _find_cached()
    if violations:
        raise PipelineFilesError(violations)


def _find_cached() -> tuple[Violation, ...]:
    settings = get_settings()
    root = settings.configs_dir
    versions = file_versions(root) | file_versions(_CODE, suffix=".py")
    cache = CheckCache(settings.var_dir / _CACHE_FILE, now_ns=time.time_ns)
    return cache.get(versions, lambda: find_violations(root))
