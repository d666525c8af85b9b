"""What a run's expectations and messages came to, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convergence.api.runs.models import NotificationResult, QualityResult
from convergence.state.notifications import Notification, NotificationStatus
from convergence.state.org_steps import OrgStep

_STEP = "step:"


def quality_of(steps: Iterable[OrgStep]) -> list[QualityResult]:
    """The suites that the run's days were held against, in the order of their steps."""
    return [_quality(told) for step in steps if (told := (step.result or {}).get("quality"))]


def notification(told: Notification) -> NotificationResult:
    """What became of a message."""
    return NotificationResult(
        channel=told.key.channel,
        event=told.key.event,
        status=told.status.value,
        attempts=told.attempts,
        recipients=told.recipients,
        at=told.ended_at or told.claimed_at,
        message=f"{told.key.channel} about {_subject(told.key.event)}: {_fate(told)}",
    )


def _quality(told: dict[str, Any]) -> QualityResult:
    held = (
        f"{told['expectations']} expectations of {told['suite']} on {_counted(told['days'], 'day')}"
    )
    outcome = f"{told['not_met']} not met" if told["not_met"] else "all met"
    return QualityResult.model_validate({**told, "message": f"{held}: {outcome}"})


def _subject(event: str) -> str:
    if event.startswith(_STEP):
        return f"the run at its step {event.removeprefix(_STEP)}"
    return "a run with nothing to do" if event == "idle" else f"a {event} run"


def _fate(told: Notification) -> str:
    if told.status is NotificationStatus.SENT:
        return f"sent to {_counted(told.recipients, 'recipient')}"
    if told.status is NotificationStatus.FAILED:
        return f"not sent after {_counted(told.attempts, 'try', 'tries')}: {told.error}"
    return "being sent"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"
