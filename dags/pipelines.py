"""Build one Airflow DAG from each valid YAML file under include/configs.

This file never fails because of a YAML file, since one invalid file would then hide every
pipeline. `config_errors.py` raises the violations instead.
"""

from __future__ import annotations

from convergence.pipelines.dags.factory import register_dags

register_dags(globals())
