"""The schedule of a pipeline: five cron fields in UTC, or a preset."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}
_MAX_CHARS = 100
_ANY_START = datetime(2024, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def check_schedule(text: str) -> str:
    """Return a valid schedule unchanged.

    Raises:
        PydanticCustomError: the text is not a schedule, or its time never occurs.
    """
    if text in PRESETS:
        return text
    if text.startswith("@"):
        raise PydanticCustomError(
            "preset", "is not a preset schedule", {"value": text, "accepted": tuple(PRESETS)}
        )
    if len(text.split()) != 5:
        raise PydanticCustomError(
            "cron", "must be five cron fields (minute hour day month weekday) or a preset"
        )
    _check_cron(text)
    return text


def cadence(schedule: str | None) -> str:
    """Return manual, minutely, hourly, daily, weekly, monthly or yearly.

    A schedule that runs more often than once an hour is minutely.
    """
    if schedule is None:
        return "manual"
    minute, hour, day, month, weekday = PRESETS.get(schedule, schedule).split()
    if not minute.isdigit():
        return "minutely"
    if not hour.isdigit():
        return "hourly"
    if weekday != "*":
        return "weekly"
    if day == "*":
        return "daily"
    return "yearly" if month.isdigit() else "monthly"


def _check_cron(text: str) -> None:
    from croniter import CroniterError, croniter

    try:
        croniter(text, _ANY_START).get_next(datetime)
    except CroniterError as error:
        raise PydanticCustomError(
            "cron", "is not a cron expression: {why}", {"why": " ".join(str(error).split())}
        ) from None


Schedule = Annotated[str, Field(max_length=_MAX_CHARS), AfterValidator(check_schedule)]
