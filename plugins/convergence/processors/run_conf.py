"""Validate the conf of a run: the params of its pipeline, and nothing else.

This is the only check of a trigger's values. The HTTP API calls it before it triggers a run. The
first task of the DAG calls it again, because Airflow's UI accepts any key in a run's conf. A param
without a value takes the org's setting for the pipeline, or else the pipeline's default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convergence.errors import PipelineUnavailableError, RequestError
from convergence.processors.context import PipelineInfo
from convergence.runs.shrink_guard import ACCEPT_SHRINK, ShrinkAcceptance

if TYPE_CHECKING:
    from jsonschema import ValidationError

ORG_SLUG = "org_slug"
ORG_RUN_ID = "org_run_id"
_ORG_KEYS = (ORG_SLUG, ORG_RUN_ID)


def check_params(
    conf: Mapping[str, Any], *, pipeline: PipelineInfo, allowed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Check the values of a run against the pipeline's params and add the defaults.

    Args:
        conf: the values of the run; null means "no value".
        pipeline: its `params` is the JSON Schema of the values.
        allowed: further keys, which are checked elsewhere and not returned.

    Returns:
        The params that have a value.

    Raises:
        RequestError: a key or value is invalid; the message names it and the accepted keys.
    """
    values = add_defaults(_select_params(conf, pipeline, allowed), pipeline=pipeline)
    return _validate_values(values, pipeline.params)


def check_partial_params(conf: Mapping[str, Any], *, pipeline: PipelineInfo) -> dict[str, Any]:
    """Check some values of a run, as `check_params` but without required params and defaults."""
    return _validate_values(_select_params(conf, pipeline, ()), _drop_required(pipeline))


def check_org_conf(conf: Mapping[str, Any], *, pipeline: PipelineInfo) -> dict[str, Any]:
    """Check the conf of a run of an org-scoped pipeline; the conf may also name an org.

    Returns:
        The params in the conf; `merge_params` builds each org's params from them.
    """
    return _validate_values(_select_params(conf, pipeline, _ORG_KEYS), _drop_required(pipeline))


def merge_params(
    conf: Mapping[str, Any], settings: Mapping[str, Any], *, pipeline: PipelineInfo
) -> dict[str, Any]:
    """Merge the params of a run: its conf first, then the org's settings, then the defaults.

    Args:
        conf: the values of the run; null means "no value".
        settings: the params in the org's settings for the pipeline.
        pipeline: its `params` is the JSON Schema of the values.

    Raises:
        RequestError: a value in the conf is invalid, or a required param is missing.
        PipelineUnavailableError: the pipeline no longer accepts the org's settings.
    """
    requested = {key: value for key, value in conf.items() if value is not None}
    used = {
        key: value
        for key, value in settings.items()
        # Before it had days and a reason, this setting was true or false; that accepts nothing.
        if key not in requested and not (key == ACCEPT_SHRINK and isinstance(value, bool))
    }
    try:
        check_partial_params(used, pipeline=pipeline)
    except RequestError as error:
        raise PipelineUnavailableError(
            f"The organization's settings are no longer valid for the pipeline: {error.message}",
            reason="settings",
        ) from error
    return check_params({**used, **requested}, pipeline=pipeline)


def add_defaults(values: Mapping[str, Any], *, pipeline: PipelineInfo) -> dict[str, Any]:
    """Return the values, with the default of each param that has no value."""
    properties: Mapping[str, Any] = pipeline.params.get("properties", {})
    known = {key: schema["default"] for key, schema in properties.items() if "default" in schema}
    return {**known, **values}


def _select_params(
    conf: Mapping[str, Any], pipeline: PipelineInfo, allowed: tuple[str, ...]
) -> dict[str, Any]:
    """Return the params in the conf; raise for a key that is neither a param nor allowed."""
    properties: Mapping[str, Any] = pipeline.params.get("properties", {})
    values = {key: value for key, value in conf.items() if value is not None}
    accepted = sorted({*properties, *allowed})
    for key in values:
        if key not in accepted:
            close = difflib.get_close_matches(key, accepted, n=1)
            raise RequestError(
                f"{key} is not a param of this pipeline", **_build_hint(close), accepted=accepted
            )
    return {key: value for key, value in values.items() if key in properties}


def _drop_required(pipeline: PipelineInfo) -> dict[str, Any]:
    return {key: value for key, value in pipeline.params.items() if key != "required"}


def _validate_values(values: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    if error := _find_first_error(values, schema):
        accepted = sorted(schema.get("properties", {}))
        raise RequestError(f"{_format_path(error)}: {error.message}", accepted=accepted)
    accepted_shrink = ShrinkAcceptance.from_param(values.get(ACCEPT_SHRINK))
    if accepted_shrink is not None and accepted_shrink.last < accepted_shrink.first:
        raise RequestError(f"{ACCEPT_SHRINK}.end_date: is before start_date")
    return values


def _build_hint(close: list[str]) -> dict[str, str]:
    return {"did_you_mean": close[0]} if close else {}


def _find_first_error(
    values: Mapping[str, Any], schema: Mapping[str, Any]
) -> ValidationError | None:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(
        dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    return min(validator.iter_errors(dict(values)), key=_format_path, default=None)


def _format_path(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.absolute_path) or "params"
