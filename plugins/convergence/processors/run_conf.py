"""What a run may be asked for: its params, and nothing else.

The one check of a trigger's values, whoever sends them: the HTTP API before it triggers, and the
first task of the DAG again, since Airflow's UI accepts any key in a run's conf. What a run is not
given, the org's own settings of the pipeline say, and then the pipeline's defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convergence.errors import PipelineUnavailableError, RequestError
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
    values = with_defaults(_known(conf, pipeline, allowed), pipeline=pipeline)
    return _checked(values, pipeline.params)


def check_part(conf: Mapping[str, Any], *, pipeline: PipelineFacts) -> dict[str, Any]:
    """Check some of a run's values: as `check`, but none is required and no default filled in."""
    return _checked(_known(conf, pipeline, ()), _optional(pipeline))


def check_org_conf(conf: Mapping[str, Any], *, pipeline: PipelineFacts) -> dict[str, Any]:
    """Check the conf of an org-scoped pipeline's run, where an org may be named as well.

    Returns:
        The params that were given; `merged` makes each org's params of them.
    """
    return _checked(_known(conf, pipeline, _OF_ORG_PIPELINES), _optional(pipeline))


def merged(
    given: Mapping[str, Any], settings: Mapping[str, Any], *, pipeline: PipelineFacts
) -> dict[str, Any]:
    """A run's params: what it was given, else what its org has set, else the defaults.

    Args:
        given: what the run was asked for; null stands for "not given".
        settings: the params of the org's own settings of the pipeline.
        pipeline: its `params` is the JSON Schema of the values.

    Raises:
        RequestError: what was given is wrong, or a required param is missing.
        PipelineUnavailableError: the pipeline no longer takes what the org has set.
    """
    asked = {key: value for key, value in given.items() if value is not None}
    used = {key: value for key, value in settings.items() if key not in asked}
    try:
        check_part(used, pipeline=pipeline)
    except RequestError as error:
        raise PipelineUnavailableError(
            f"The organization's own settings do not fit the pipeline any more: {error.message}",
            reason="settings",
        ) from error
    return check({**used, **asked}, pipeline=pipeline)


def with_defaults(values: Mapping[str, Any], *, pipeline: PipelineFacts) -> dict[str, Any]:
    """The values, and the default of each param that has none."""
    properties: Mapping[str, Any] = pipeline.params.get("properties", {})
    known = {key: schema["default"] for key, schema in properties.items() if "default" in schema}
    return {**known, **values}


def _known(
    conf: Mapping[str, Any], pipeline: PipelineFacts, allowed: tuple[str, ...]
) -> dict[str, Any]:
    """The params that were given; a key that is none is refused, unless it is allowed."""
    properties: Mapping[str, Any] = pipeline.params.get("properties", {})
    given = {key: value for key, value in conf.items() if value is not None}
    accepted = sorted({*properties, *allowed})
    for key in given:
        if key not in accepted:
            close = difflib.get_close_matches(key, accepted, n=1)
            raise RequestError(
                f"{key} is not a param of this pipeline", **_hint(close), accepted=accepted
            )
    return {key: value for key, value in given.items() if key in properties}


def _optional(pipeline: PipelineFacts) -> dict[str, Any]:
    return {key: value for key, value in pipeline.params.items() if key != "required"}


def _checked(values: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    if fault := _first_fault(values, schema):
        accepted = sorted(schema.get("properties", {}))
        raise RequestError(f"{_place(fault)}: {fault.message}", accepted=accepted)
    return values


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
