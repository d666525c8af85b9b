"""Import once, before the forks, what tasks, readers and servers need."""

from __future__ import annotations


def preload() -> None:
    """Import it; nothing here may start a thread, or forks from this process would be unsafe."""
    import importlib

    for name in (
        *(
            "convergence_sandbox.__main__",
            "convergence_sandbox.kms",
            "convergence_sandbox.mail",
            "convergence_sandbox.aws.server",
        ),
        *("convergence_sandbox.bigquery.rest.app", "convergence_sandbox.providers.app", "uvicorn"),
        *(
            "convergence.processors.lib.daily.extraction",
            "convergence.processors.lib.pricing.pricing",
        ),
        *("convergence.processors.openai.extraction", "convergence.processors.openai.cost"),
        *("convergence.processors.openai.usage", "convergence.processors.quality.expectations"),
        *("convergence.processors.costs.authoritative", "convergence.processors.costs.publishing"),
        *("convergence.runs.publisher", "convergence.pipelines.files.loader"),
    ):
        importlib.import_module(name)
