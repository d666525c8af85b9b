"""Shows every fault of the configurations in Airflow's list of DAG import errors; holds no DAG.

Airflow ties an import error to a DAG file and hides every DAG of that file, so the errors of the
YAML files are raised here and the DAGs are built in `pipelines.py`.
"""

from __future__ import annotations

from convergence.pipelines.files.all_violations import raise_violations

raise_violations()
