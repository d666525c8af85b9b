"""Configuration of the steps that check published tables."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from convergence.processors.step_config import StepConfig

SuiteFile = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(/[a-z][a-z0-9_]*)*\.json$")]
"""A suite of expectations, such as `data_quality/expectations/billing_cost_suite.json`."""


class ExpectationsConfig(StepConfig):
    """Checks the run's published days against a suite of expectations, and stops or warns."""

    ps_type: ClassVar[str] = "quality.expectations"

    suite: SuiteFile
    """The suite's file, a path under the folder of configurations."""
