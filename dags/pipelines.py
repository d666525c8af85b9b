"""Every sound YAML file under include/configs becomes one Airflow DAG.

This file never fails because of a YAML file: a fault in one would take every pipeline down with
it. `config_errors.py` beside it raises the faults instead.
"""

from __future__ import annotations

from convergence.pipelines.dags.factory import register

register(globals())
