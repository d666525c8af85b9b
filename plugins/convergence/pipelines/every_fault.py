"""Every fault of the folder of configurations: pipelines, settings, message templates, suites."""

from __future__ import annotations

from pathlib import Path

from convergence.pipelines.faults import ConfigFault, PipelineFilesError
from convergence.pipelines.loader import load_all
from convergence.pipelines.settings_files import settings_faults
from convergence.settings import get_settings


def every_fault(root: Path) -> tuple[ConfigFault, ...]:
    """Every fault of every file, by place."""
    faults = [*load_all(root).faults, *settings_faults(root)]
    return tuple(sorted(faults, key=lambda fault: fault.place))


def raise_faults(root: Path | None = None) -> None:
    """Raise one error that lists every fault of every file, if there is any.

    Raises:
        PipelineFilesError: its message is the list.
    """
    faults = every_fault(root or get_settings().configs_dir)
    if faults:
        raise PipelineFilesError(faults)
