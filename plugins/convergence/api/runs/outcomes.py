"""Describe the results of a run's expectations and messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convergence.api.runs.models import NotificationResult, QualityResult
from convergence.state.notifications import Notification, NotificationStatus
from convergence.state.org_steps import OrgStep

_STEP = "step:"


def list_quality_results(steps: Iterable[OrgStep]) -> list[QualityResult]:
    """Return the results of the suites that checked the run's days, in the order of their steps."""
    results = ((step.result or {}).get("quality") for step in steps)
    return [_build_quality(result) for result in results if result]


def build_notification(notification: Notification) -> NotificationResult:
    """Return the delivery of a message."""
    subject = _describe_subject(notification.key.event)
    delivery = _describe_delivery(notification)
    return NotificationResult(
        channel=notification.key.channel,
        event=notification.key.event,
        status=notification.status.value,
        attempts=notification.attempts,
        recipients=notification.recipients,
        at=notification.ended_at or notification.claimed_at,
        message=f"{notification.key.channel} about {subject}: {delivery}",
    )


def _build_quality(result: dict[str, Any]) -> QualityResult:
    days = _format_count(result["days"], "day")
    checked = f"{result['expectations']} expectations of {result['suite']} on {days}"
    met = f"{result['not_met']} not met" if result["not_met"] else "all met"
    return QualityResult.model_validate({**result, "message": f"{checked}: {met}"})


def _describe_subject(event: str) -> str:
    if event.startswith(_STEP):
        return f"the run at its step {event.removeprefix(_STEP)}"
    return "a run with nothing to do" if event == "idle" else f"a {event} run"


def _describe_delivery(notification: Notification) -> str:
    if notification.status is NotificationStatus.SENT:
        return f"sent to {_format_count(notification.recipients, 'recipient')}"
    if notification.status is NotificationStatus.FAILED:
        tries = _format_count(notification.attempts, "try", "tries")
        return f"not sent after {tries}: {notification.error}"
    return "being sent"


def _format_count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
