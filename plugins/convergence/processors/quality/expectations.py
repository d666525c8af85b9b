"""`quality.expectations`: are the days that this run published what they should be?"""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import PurePosixPath

from convergence.errors import RetryableError
from convergence.processors.base import OrgProcessor
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.quality.config import ExpectationsConfig
from convergence.processors.quality.measure import Inspector
from convergence.processors.quality.record import build_stop_error, keep, report
from convergence.processors.quality.suite import Suite, load_schema, load_suite
from convergence.processors.quality.ties import confirm_ties

_REACH = timedelta(days=100)
"""Maximum distance of restated days before the requested days of a run."""


class Expectations(OrgProcessor[ExpectationsConfig]):
    """Measure every expectation of the suite, keep the verdicts, fail where one says stop."""

    Config = ExpectationsConfig

    def run_step(self, org: OrgContext, config: ExpectationsConfig) -> StepResult:
        """Check the expectations; return `quality`: the number of checks and the unmet ones.

        Raises:
            ExpectationsNotMetError: an expectation whose severity is stop was not met.
            ConfigurationError: the suite or a schema it names is wrong.
            SupersededError: a tie can't be checked while another run publishes newer content.
            RetryableError: the task is being stopped.
        """
        configs = org.settings.configs_dir
        suite = load_suite(configs / config.suite)
        days = published_days(org, suite)
        if not days:
            return StepResult(status="SKIPPED", details={"reason": "no day was published"})
        inspector = Inspector(
            warehouse=org.warehouse,
            dataset=org.dataset,
            suite=suite,
            schemas={name: load_schema(configs, name, file) for name, file in suite.tables.items()},
        )

        def stopped() -> None:
            if org.stop.is_set():
                raise RetryableError("The task was stopped")

        verdicts = confirm_ties(org, inspector, inspector.inspect(days, stopped=stopped))
        name = PurePosixPath(config.suite).stem
        keep(org, verdicts, suite=name, now=org.now())
        for verdict in verdicts:
            if not verdict.passed:
                org.log.warning("%s: %s", verdict.severity, verdict.message)
        if (error := build_stop_error(verdicts, suite=name)) is not None:
            raise error
        return StepResult(details=report(verdicts, suite=name))


def published_days(org: OrgContext, suite: Suite) -> list[date]:
    """Return the run's days, and other days that it published in the suite's tables.

    A step may find by itself that the provider restated further days.
    """
    since = min(org.days, default=org.now().date()) - _REACH
    latest = org.ledger.read_latest(
        orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=since
    )
    restated = {
        key.day
        for key, row in latest.items()
        if row.run_id == org.run_id and key.table in suite.tables
    }
    return sorted({*org.days, *restated})
