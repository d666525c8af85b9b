"""What a run may be asked for: its params, and nothing else.

The one check of a trigger's values, whoever sends them: the HTTP API before it triggers, and the
first task of the DAG again, since Airflow's UI accepts any key in a run's conf.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convergence.errors import RequestError
from convergence.processors.context import PipelineFacts

if TYPE_CHECKING:
    from jsonschema import ValidationError

ORG_SLUG = "org_slug"
ORG_RUN_ID = "org_run_id"
_OF_ORG_PIPELINES = (ORG_SLUG, ORG_RUN_ID)


def check(
    conf: Mapping[str, Any], *, pipeline: PipelineFacts, allowed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Check a run's values against the pipeline's params and fill in the defaults.

    Args:
        conf: what the run was asked for; null stands for "not given".
        pipeline: its `params` is the JSON Schema of the values.
        allowed: further keys that are checked elsewhere and left out of the answer.

    Returns:
        The params that have a value.

    Raises:
        RequestError: naming the key at fault and what is accepted.
    """
    properties: Mapping[str, Any] = pipeline.params.get("properties", {})
    given = {key: value for key, value in conf.items() if value is not None}
    accepted = sorted({*properties, *allowed})
    for key in given:
        if key not in accepted:
            close = difflib.get_close_matches(key, accepted, n=1)
            raise RequestError(
                f"{key} is not a param of this pipeline", **_hint(close), accepted=accepted
            )
    values = {key: schema["default"] for key, schema in properties.items() if "default" in schema}
    values |= {key: value for key, value in given.items() if key in properties}
    if fault := _first_fault(values, pipeline.params):
        raise RequestError(f"{_place(fault)}: {fault.message}", accepted=accepted)
    return values


def check_org_conf(conf: Mapping[str, Any], *, pipeline: PipelineFacts) -> dict[str, Any]:
    """Check the conf of an org-scoped pipeline's run, where an org may be named as well."""
    return check(conf, pipeline=pipeline, allowed=_OF_ORG_PIPELINES)


def _hint(close: list[str]) -> dict[str, str]:
    return {"did_you_mean": close[0]} if close else {}


def _first_fault(values: Mapping[str, Any], schema: Mapping[str, Any]) -> ValidationError | None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(
        dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return min(validator.iter_errors(dict(values)), key=_place, default=None)


def _place(fault: ValidationError) -> str:
    return ".".join(str(part) for part in fault.absolute_path) or "params"
