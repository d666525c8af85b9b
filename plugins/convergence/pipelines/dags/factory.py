"""Build an Airflow DAG from a pipeline's file.

The same file gives the same DAG, byte for byte, in every process.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, TriggerRule, get_parsing_context, task_group
from airflow.sdk.definitions.param import ParamsDict

from convergence.pipelines.dags.docs import docs_md, tags
from convergence.pipelines.dags.lifecycle import CLOSE_RUN, SELECT_ORGS, CloseRun, SelectOrgs
from convergence.pipelines.files.loader import load_all, load_dag
from convergence.pipelines.files.params import ParamSpec
from convergence.pipelines.files.shrink_param import SHRINK_PARAM_SCHEMA
from convergence.pipelines.files.spec import PipelineSpec, StepSpec
from convergence.processors.context import PipelineInfo
from convergence.processors.registry import find_operator
from convergence.processors.run_conf import ORG_SLUG
from convergence.runs.shrink_guard import ACCEPT_SHRINK
from convergence.settings import get_settings

ORG_GROUP = "orgs"

# A fixed past: with `catchup` off the first run is the next tick after the DAG appears.
_START = datetime(2025, 1, 1, tzinfo=UTC)
_LIFECYCLE_TIMEOUT = timedelta(minutes=15)
_MAX_RETRY_DELAY = timedelta(minutes=10)

# Absolute weights: an administrator's DAG goes first, and the short tasks that start and close a
# run do not wait for the many steps of other runs.
_WEIGHT_PLATFORM, _WEIGHT_LIFECYCLE, _WEIGHT_STEP = 100, 10, 1

_SLUG_HELP = "Run for this org only; leave empty to run for every eligible org."
_SLUG_SCHEMA = {
    "type": ["null", "string"],
    "title": "Organization",
    "pattern": "^[a-z0-9][a-z0-9_]{1,48}[a-z0-9]$",
}

log = logging.getLogger(__name__)


def register_dags(namespace: MutableMapping[str, Any], *, root: Path | None = None) -> None:
    """Put the DAG of every valid pipeline into the namespace of a DAG file, sorted.

    In the process of a task, Airflow names the DAG that it needs, and only its file is opened.
    Invalid files are skipped; `dags/config_errors.py` reports them.
    """
    configs = root or get_settings().configs_dir
    for spec in _load_specs(configs, dag_id=get_parsing_context().dag_id):
        namespace[spec.dag_id] = build_dag(spec)


def build_dag(spec: PipelineSpec) -> DAG:
    """Build the pipeline's DAG."""
    dag = DAG(
        spec.dag_id,
        description=spec.description,
        schedule=spec.schedule,
        start_date=_START,
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=spec.max_active_runs,
        max_active_tasks=spec.max_active_tasks,
        tags=tags(spec),
        doc_md=docs_md(spec),
        default_args=_task_defaults(spec),
        render_template_as_native_obj=False,
    )
    with dag:
        if spec.scope == "org":
            _add_org_tasks(spec)
        else:
            _add_platform_tasks(spec)
    # After the tasks: a task that is created in a DAG with params copies them, and Airflow then
    # validates the copy of each task whenever it serializes the DAG. A running task reads the
    # params of the DAG. `update` instead of an assignment: on assignment Airflow validates each
    # default and its schema again, a third of the time to build a DAG. `ParamSpec` and `Checks`
    # have already rejected invalid params.
    dag.params.update(_build_params(spec))
    return dag


def _load_specs(root: Path, *, dag_id: str | None) -> Iterator[PipelineSpec]:
    if dag_id is not None:
        loaded = load_dag(dag_id, root)
        if isinstance(loaded, PipelineSpec):
            yield loaded
            return
        for violation in loaded or ():
            log.error("%s", violation)
    specs = load_all(root).specs
    yield from specs.values() if dag_id not in specs else [specs[dag_id]]


def _add_org_tasks(spec: PipelineSpec) -> None:
    pipeline = spec.build_info()
    select = SelectOrgs(task_id=SELECT_ORGS, pipeline=pipeline, **_lifecycle_arguments(spec))

    @task_group(group_id=ORG_GROUP)
    def orgs(batch: Mapping[str, Any]) -> None:
        _chain_steps(spec, arguments={"pipeline": pipeline, "batch": batch})

    mapped = orgs.expand(batch=select.output)
    close = _build_close_task(spec, pipeline)
    select >> close
    mapped >> close


def _add_platform_tasks(spec: PipelineSpec) -> None:
    pipeline = spec.build_info()
    close = _build_close_task(spec, pipeline)
    for step in _chain_steps(spec, arguments={"pipeline": pipeline}).values():
        step >> close


def _build_close_task(spec: PipelineSpec, pipeline: PipelineInfo) -> CloseRun:
    rule = TriggerRule.ALL_DONE
    return CloseRun(
        task_id=CLOSE_RUN,
        pipeline=pipeline,
        notify=spec.notify.channels(),
        trigger_rule=rule,
        **_lifecycle_arguments(spec),
    )


def _chain_steps(spec: PipelineSpec, *, arguments: Mapping[str, Any]) -> dict[str, BaseOperator]:
    steps = {step.step: _build_operator(step, arguments) for step in spec.steps}
    for name, upstream in spec.upstream.items():
        for before in upstream:
            steps[before] >> steps[name]
    return steps


def _build_operator(step: StepSpec, arguments: Mapping[str, Any]) -> BaseOperator:
    overrides: dict[str, Any] = {}
    if step.retries is not None:
        overrides["retries"] = step.retries
    if step.timeout_minutes is not None:
        overrides["execution_timeout"] = timedelta(minutes=step.timeout_minutes)
    return find_operator(step.ps_type)(
        task_id=step.step, config=step.config, **arguments, **overrides
    )


def _build_params(spec: PipelineSpec) -> ParamsDict:
    params = {name: _build_param(param) for name, param in spec.params.items()}
    if spec.guards_tables:
        params[ACCEPT_SHRINK] = _build_shrink_param()
    if spec.scope == "platform":
        return ParamsDict(params)
    return ParamsDict({ORG_SLUG: Param(None, _SLUG_HELP, schema=_SLUG_SCHEMA)} | params)


def _build_shrink_param() -> Param:
    schema = dict(SHRINK_PARAM_SCHEMA)
    help_text = schema.pop("description")
    return Param(None, help_text, schema=schema | {"type": ["null", "object"]})


def _build_param(param: ParamSpec) -> Param:
    schema = param.json_schema()
    help_text = schema.pop("description", None)
    if param.required:
        return Param(description=help_text, schema=schema)
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    default = schema.pop("default", None)
    return Param(default, help_text, schema=schema | {"type": ["null", param.type]})


def _task_defaults(spec: PipelineSpec) -> dict[str, Any]:
    return {
        "owner": "convergence",
        "retries": spec.retries,
        "retry_delay": timedelta(seconds=spec.retry_delay_seconds),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": _MAX_RETRY_DELAY,
        "execution_timeout": timedelta(minutes=spec.timeout_minutes),
        "priority_weight": _WEIGHT_PLATFORM if spec.scope == "platform" else _WEIGHT_STEP,
        "weight_rule": "absolute",
    }


def _lifecycle_arguments(spec: PipelineSpec) -> dict[str, Any]:
    weight = _WEIGHT_PLATFORM if spec.scope == "platform" else _WEIGHT_LIFECYCLE
    return {"execution_timeout": _LIFECYCLE_TIMEOUT, "priority_weight": weight}
