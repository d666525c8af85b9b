"""Send one message about the run so far; email and Slack steps share this code."""

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
class NotificationStep:
    """Configuration of one step that sends a message."""

    channel: str
    trigger: Trigger
    audience: Audience
    recipients: Sequence[str]
    must_arrive: bool


def notify_recipients(
    org: OrgContext, step: NotificationStep, *, notifier: Notifier, base_url: str
) -> StepResult:
    """Send the message; `notification_sent` in the details says whether it was sent.

    Raises:
        NotificationUnavailableError: it must arrive and was not sent.
        NotFoundError: the run has no record.
    """
    run = org.services.steps.get_run(org.run_id)
    if run is None:
        raise NotFoundError("There is no such run", run_id=org.run_id)
    steps = org.services.steps.list_steps(org.run_id)
    event = stands_at(run, steps, org.pipeline)
    to = _recipients(org, step, notifier)
    if not to or not hears(step.trigger, event):
        why = "there are no recipients" if not to else f"the run is {event}"
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
    key = NotificationKey(org.run_id, org.org_slug, step.channel, f"step:{org.step}")
    with notifying(notifier):
        delivery = notifier.send_report(key, report, audience="organization", to=to)
    if not delivery.sent:
        if step.must_arrive:
            raise NotificationUnavailableError(f"The message was not sent: {delivery.error}")
        org.log.warning("not sent: %s", delivery.error)
        return StepResult(details={"notification_sent": False, "reason": delivery.error})
    return StepResult(details={"notification_sent": True, "recipients": len(to)})


def _recipients(org: OrgContext, step: NotificationStep, notifier: Notifier) -> tuple[str, ...]:
    settings = notifier.channel(step.channel)
    to = step.recipients or recipients_for(settings, step.audience, org.org_slug)
    admin = None
    if ADMIN_EMAIL in to:
        admin = admin_emails(org.warehouse, [org.org_slug]).get(org.org_slug)
    return resolved(to, admin_email=admin)
