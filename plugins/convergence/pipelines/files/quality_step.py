"""The step that the key `quality` adds at the end of a pipeline."""

from __future__ import annotations

from typing import Final

from convergence.pipelines.files.spec import PipelineSpec, StepSpec
from convergence.processors.quality.config import ExpectationsConfig

QUALITY_STEP: Final = "validate_quality"


def with_quality(spec: PipelineSpec) -> PipelineSpec:
    """Add the step that checks the published days against the pipeline's suite, if it has one."""
    if spec.quality is None:
        return spec
    config = {"suite": spec.quality}
    waited_for = {name for upstream in spec.upstream.values() for name in upstream}
    step = StepSpec.model_validate(
        {
            "step": QUALITY_STEP,
            "processor": ExpectationsConfig.ps_type,
            "config": config,
            "depends_on": tuple(name for name in spec.upstream if name not in waited_for),
        }
    )
    step.set_parsed(ExpectationsConfig.from_values(config))
    values = {name: getattr(spec, name) for name in PipelineSpec.model_fields}
    return PipelineSpec.model_construct(**values | {"steps": (*spec.steps, step)})
