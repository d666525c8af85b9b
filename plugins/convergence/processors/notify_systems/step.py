"""What the steps that send messages share: look at the run so far, and tell of it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convergence.errors import NotFoundError, NotificationUnavailableError
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.notify_systems.channels import (
    ADMIN_EMAIL,
    Audience,
    Trigger,
    recipients_for,
    words,
)
from convergence.processors.notify_systems.notifier import Notifier, notifying
from convergence.processors.notify_systems.recipients import admin_emails, resolved
from convergence.processors.notify_systems.reports import hears, org_report, stands_at
from convergence.state.notifications import NotificationKey

if TYPE_CHECKING:
    from convergence.runs.ledger import LedgerRow
    from convergence.runs.slices import SliceKey


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What a step was told about its message."""

    channel: str
    trigger: Trigger
    audience: Audience
    recipients: Sequence[str]
    must_arrive: bool


def tell(org: OrgContext, telling: Telling, *, notifier: Notifier, base_url: str) -> StepResult:
    """Send the message; the answer's `notification_sent` says whether it is with its recipients.

    Raises:
        NotificationUnavailableError: it must arrive and did not.
        NotFoundError: the run has no record.
    """
    run = org.services.steps.get_run(org.run_id)
    if run is None:
        raise NotFoundError("There is no such run", run_id=org.run_id)
    steps = org.services.steps.list_steps(org.run_id)
    event = stands_at(run, steps, org.pipeline)
    to = _recipients(org, telling, notifier)
    if not to or not hears(telling.trigger, event):
        why = "nobody is to be told" if not to else f"the run is {event}"
        return StepResult(status="SKIPPED", details={"notification_sent": False, "reason": why})
    latest: Mapping[SliceKey, LedgerRow] = {}
    if org.days:
        latest = org.ledger.read_latest(
            orgs=[org.org_slug], pipeline_id=org.pipeline.pipeline_id, since=min(org.days)
        )
    report = org_report(
        run,
        event=event,
        steps=steps.values(),
        slices=latest.values(),
        words=words(org.settings.configs_dir),
        base_url=base_url,
    )
    key = NotificationKey(org.run_id, org.org_slug, telling.channel, f"step:{org.step}")
    with notifying(notifier):
        told = notifier.tell(key, report, audience="organization", to=to)
    if not told.sent:
        if telling.must_arrive:
            raise NotificationUnavailableError(f"The message was not sent: {told.error}")
        org.log.warning("not sent: %s", told.error)
        return StepResult(details={"notification_sent": False, "reason": told.error})
    return StepResult(details={"notification_sent": True, "recipients": len(to)})


def _recipients(org: OrgContext, telling: Telling, notifier: Notifier) -> tuple[str, ...]:
    settings = notifier.channel(telling.channel)
    to = telling.recipients or recipients_for(settings, telling.audience, org.org_slug)
    admin = None
    if ADMIN_EMAIL in to:
        admin = admin_emails(org.warehouse, [org.org_slug]).get(org.org_slug)
    return resolved(to, admin_email=admin)
