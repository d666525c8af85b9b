"""Show every violation of the configuration files in Airflow's list of DAG import errors.

This file has no DAG: Airflow hides every DAG of a file with an import error, so the errors of the
YAML files are raised here and the DAGs are built in `pipelines.py`.
"""

from __future__ import annotations

from convergence.pipelines.files.all_violations import raise_violations

raise_violations()
