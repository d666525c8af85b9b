"""`setup.initial.onetime_bootstrap`: the central dataset, its tables and views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.errors import ForbiddenError, RequestError
from convergence.processors.base import PlatformProcessor
from convergence.processors.context import PlatformContext, StepResult
from convergence.processors.setup.initial.config import OnetimeBootstrapConfig
from convergence.settings import Environment


class OnetimeBootstrap(PlatformProcessor[OnetimeBootstrapConfig]):
    """Create or widen the central dataset. Running it again changes nothing."""

    Config = OnetimeBootstrapConfig

    def run_step(
        self,
        platform: PlatformContext,
        config: OnetimeBootstrapConfig,
        params: Mapping[str, Any],
    ) -> StepResult:
        """Bootstrap; return `dataset_id`, `tables_created`, `tables_widened` and `views_created`.

        Raises:
            ForbiddenError: dropping was asked for in production.
            RequestError: dropping was asked for and not confirmed.
        """
        from convergence.tenants.datasets import describe_central_dataset
        from convergence.warehouse.tables.bootstrap import Layout, build_layout
        from convergence.warehouse.tables.datasets import EnsureOutcome, drop_dataset

        settings = platform.settings
        # Everything wrong with the files must be known before anything is dropped.
        layout = Layout.load(settings.configs_dir / config.layout)
        dataset = describe_central_dataset(settings)
        recreated = may_drop(params, environment=settings.environment, dataset=dataset.name)
        if recreated:
            platform.log.warning("dropping %s, as asked and confirmed", dataset.name)
            drop_dataset(platform.warehouse, dataset.name)
        report = build_layout(
            platform.warehouse,
            layout,
            dataset=dataset.name,
            description=dataset.description,
            labels=dataset.labels,
        )
        return StepResult(
            details={
                "dataset_id": report.dataset,
                "dataset_recreated": recreated,
                "tables_created": [
                    name for name, had in report.tables.items() if had is EnsureOutcome.CREATED
                ],
                "views_created": [
                    name for name, had in report.views.items() if had is EnsureOutcome.CREATED
                ],
                "tables_widened": report.widened,
            }
        )


def may_drop(params: Mapping[str, Any], *, environment: Environment, dataset: str) -> bool:
    """Return whether to drop the dataset first: only on request, confirmed, outside production."""
    if not params.get("force_recreate_dataset", False):
        return False
    if environment is Environment.PRODUCTION:
        raise ForbiddenError(
            "The central dataset is never dropped in production", environment=environment.value
        )
    if params.get("confirmation") != dataset:
        raise RequestError(
            "Dropping every organization's records must be confirmed by the dataset's name",
            field="confirmation",
            expected=dataset,
        )
    return True
