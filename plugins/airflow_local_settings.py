"""Import packages once in Airflow's components, before they fork a process per task and file.

Airflow imports this module when a component starts. Every process that the scheduler's executor,
a Celery worker or the DAG processor forks needs the packages below; forked from a component that
has them, a task takes a third of the CPU time.

`CONVERGENCE_PRELOAD` says how much is imported (docs/preload.md):

- `packages`, the default: others' packages only. Our own code is imported by each task itself, so
  that one version of it runs a task from its first line to its last.
- `all`: our own code too. Set where the code stays the same while a component runs.
"""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module

__all__: tuple[str, ...] = ()  # nothing here overrides a setting

_FORKING = {"celery", "dag-processor", "scheduler"}
_PACKAGES = (
    "google.cloud.bigquery",
    "google.cloud.kms",
    "jinja2.ext",
    "limits",
    "pydantic_settings",
    "airflow.dag_processing.bundles.local",
    "airflow.dag_processing.dagbag",
    "airflow.providers.google.cloud.hooks.bigquery",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.execution_time.task_runner",
)
_CHOICES = ("packages", "all")


def _import_packages(choice: str) -> None:
    for name in _PACKAGES:
        import_module(name)
    if choice == "all":
        import_module("convergence.preload").preload()
    elif choice not in _CHOICES:
        logging.getLogger(__name__).warning(
            "CONVERGENCE_PRELOAD is %r; it may be %s. Others' packages alone are imported.",
            choice,
            " or ".join(_CHOICES),
        )


if _FORKING.intersection(sys.argv[1:2]):
    # Read here and not by our settings: those would already be our own code.
    _import_packages(os.environ.get("CONVERGENCE_PRELOAD") or _CHOICES[0])
