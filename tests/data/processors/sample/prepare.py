from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult

from .config import PrepareConfig


class Prepare(PlatformProcessor[PrepareConfig]):
    """Prepares."""

    Config = PrepareConfig

    def run_step(
        self, platform: PlatformContext, config: PrepareConfig, params: Mapping[str, Any]
    ) -> StepResult:
        return StepResult(details={"answer": config.answer, "params": dict(params)})
