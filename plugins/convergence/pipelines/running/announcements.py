"""Send the notifications of an ended run: a digest to the platform, and one message per org.

The digest goes first, since an operator waits for it. A failure here never changes how the run
ended: it is recorded with the claim on the message, logged, and counted in the summary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from convergence.pipelines.running.repeated_shrink import find_repeated_runs
from convergence.processors.batch import build_run_error
from convergence.processors.context import PipelineInfo
from convergence.processors.notify_systems.channels import (
    ADMIN_EMAIL,
    Audience,
    Trigger,
    Words,
    recipients_for,
    words,
)
from convergence.processors.notify_systems.messages import OrgReport
from convergence.processors.notify_systems.notifier import Notifier
from convergence.processors.notify_systems.recipients import resolved
from convergence.processors.notify_systems.reports import (
    CANCELLED,
    FAILED,
    IDLE,
    PLATFORM,
    SUCCEEDED,
    ended_as,
    fleet_report,
    hears,
    org_report,
)
from convergence.state.notifications import NotificationKey
from convergence.state.org_runs import OrgRun, org_run_id
from convergence.state.org_steps import OrgStep

if TYPE_CHECKING:
    from convergence.runs.ledger import Ledger, LedgerRow

ItemT = TypeVar("ItemT")
Notify = Mapping[Trigger, Sequence[str]]
"""Channels by trigger."""

ORGS_PER_QUERY = 200
"""Orgs whose slices are read by one query."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Announcer:
    """Announces the end of one Airflow run.

    Attributes:
        notify: the channels of each trigger, from the pipeline's file.
        ledger: the published slices.
        steps_of: returns the newest attempts at the steps of an org run.
        admins_of: returns the administrators' addresses, by org.
        base_url: the API's address for customers, unless the channels' settings name one.
    """

    pipeline: PipelineInfo
    notify: Notify
    notifier: Notifier
    ledger: Ledger
    steps_of: Callable[[str], Mapping[str, OrgStep]]
    admins_of: Callable[[Sequence[str]], Mapping[str, str]]
    base_url: str
    _reports: dict[str, OrgReport] = field(default_factory=dict)

    def announce_run(
        self, *, dag_run_id: str, runs: Sequence[OrgRun], failed: Mapping[str, str]
    ) -> dict[str, Any]:
        """Send the messages of a run; return how many were sent and how many failed.

        Args:
            dag_run_id: Airflow's id of the run.
            runs: the ended org runs.
            failed: the reasons of failures, by org, or by step if the whole run failed.
        """
        try:
            if any(self.notify.values()):
                self._announce_new(dag_run_id, runs, failed)
        except Exception as error:  # noqa: BLE001  # a failed notification must not fail the run
            log.error("The run could not be announced: %s", build_run_error(error).message)  # noqa: TRY400  # redacted
            return {**self.notifier.summary(), "error": build_run_error(error).message}
        finally:
            self.notifier.close()
        return dict(self.notifier.summary())

    def _announce_new(
        self, dag_run_id: str, runs: Sequence[OrgRun], failed: Mapping[str, str]
    ) -> None:
        """Send the messages, except of runs that only repeat what was announced."""
        repeated = find_repeated_runs(
            runs,
            pipeline_id=self.pipeline.pipeline_id,
            ledger=self.ledger,
            steps_of=self.steps_of,
        )
        new = [run for run in runs if run.run_id not in repeated]
        if repeated and not new:
            log.info("Nothing new to announce: the same slices were refused before")
            return
        silent = {run.org_slug for run in runs if run.run_id in repeated}
        reasons = {name: reason for name, reason in failed.items() if name not in silent}
        self._send_digest(dag_run_id, new, reasons)
        self._send_org_messages(new)

    def _send_digest(
        self, dag_run_id: str, runs: Sequence[OrgRun], failed: Mapping[str, str]
    ) -> None:
        event = self._classify_run(runs, failed)
        chosen = [name for name in self._list_channels() if self._applies(name, event, "platform")]
        if not chosen:
            return
        report = fleet_report(
            self.pipeline,
            dag_run_id=dag_run_id,
            event=event,
            reports=self._build_reports(runs),
            failed=failed,
            words=self._words,
            base_url=self.base_url,
            counted=[ended_as(run, self.pipeline) for run in runs],
        )
        run_id = org_run_id(self.pipeline.dag_id, dag_run_id, PLATFORM)
        for name in chosen:
            to = recipients_for(self.notifier.channel(name), "platform", "")
            if to:
                key = NotificationKey(run_id, PLATFORM, name, event)
                self.notifier.send_report(key, report, audience="platform", to=to)

    def _send_org_messages(self, runs: Sequence[OrgRun]) -> None:
        for some in _split_into_chunks(self._list_messages(runs)):
            needs = sorted({run.org_slug for run, _, to in some if ADMIN_EMAIL in to})
            admins = self.admins_of(needs) if needs else {}
            reports = {one.run_id: one for one in self._build_reports([run for run, _, _ in some])}
            for run, name, to in some:
                report = reports[run.run_id]
                addresses = resolved(to, admin_email=admins.get(run.org_slug))
                key = NotificationKey(run.run_id, run.org_slug, name, report.event)
                if addresses:
                    self.notifier.send_report(key, report, audience="organization", to=addresses)

    def _list_messages(self, runs: Sequence[OrgRun]) -> list[tuple[OrgRun, str, tuple[str, ...]]]:
        """Return each org run to announce, with the channel and its recipients."""
        messages = []
        for run in runs:
            event = ended_as(run, self.pipeline)
            for name in self._list_channels():
                if not self._applies(name, event, "organization"):
                    continue
                to = recipients_for(self.notifier.channel(name), "organization", run.org_slug)
                if to:
                    messages.append((run, name, to))
        return messages

    def _build_reports(self, runs: Sequence[OrgRun]) -> list[OrgReport]:
        """Return the reports of the runs; each is built once."""
        for some in _split_into_chunks([run for run in runs if run.run_id not in self._reports]):
            slices = self._read_slices(some)
            for run in some:
                self._reports[run.run_id] = org_report(
                    run,
                    event=ended_as(run, self.pipeline),
                    steps=self.steps_of(run.run_id).values(),
                    slices=slices.get(run.org_slug, ()),
                    words=self._words,
                    base_url=self.base_url,
                )
        return [self._reports[run.run_id] for run in runs]

    def _read_slices(self, runs: Sequence[OrgRun]) -> dict[str, list[LedgerRow]]:
        days = [day for run in runs for day in run.days]
        if not days:
            return {}
        latest = self.ledger.read_latest(
            orgs=[run.org_slug for run in runs],
            pipeline_id=self.pipeline.pipeline_id,
            since=min(days),
        )
        found: dict[str, list[LedgerRow]] = {}
        for key, row in latest.items():
            found.setdefault(key.org_slug, []).append(row)
        return found

    def _classify_run(self, runs: Sequence[OrgRun], failed: Mapping[str, str]) -> str:
        if failed:
            return FAILED
        events = {ended_as(run, self.pipeline) for run in runs}
        if self.pipeline.scope == "platform" or SUCCEEDED in events:
            return SUCCEEDED
        return CANCELLED if events == {CANCELLED} else IDLE

    def _list_channels(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.notify.values() for name in names))

    def _applies(self, name: str, event: str, audience: Audience) -> bool:
        settings = self.notifier.channel(name)
        return any(
            name in names
            and hears(trigger, event)
            and audience in settings.triggers.get(trigger, ())
            for trigger, names in self.notify.items()
        )

    @property
    def _words(self) -> Words:
        return words(self.notifier.configs)


def _split_into_chunks(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    for start in range(0, len(items), ORGS_PER_QUERY):
        yield items[start : start + ORGS_PER_QUERY]
