from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from convergence.pipelines.files.schedule import PRESETS, Schedule, cadence

_SCHEDULE: TypeAdapter[str] = TypeAdapter(Schedule)


@pytest.mark.parametrize("text", ["0 6 * * *", "*/15 * * * 1-5", "0 0 29 2 *", *PRESETS])
def test_a_schedule_is_kept_as_it_is_written(text: str) -> None:
    assert _SCHEDULE.validate_python(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "daily", "@once", "@continuous", "* * * *", "* * * * * *", "60 * * * *", "0 0 31 2 *"],
)
def test_what_never_comes_or_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        _SCHEDULE.validate_python(text)


@pytest.mark.parametrize(
    ("schedule", "word"),
    [
        (None, "manual"),
        ("@hourly", "hourly"),
        ("* * * * *", "minutely"),
        ("*/10 * * * *", "minutely"),
        ("15 * * * *", "hourly"),
        ("0 6 * * *", "daily"),
        ("@daily", "daily"),
        ("0 6 * * 1", "weekly"),
        ("0 6 1 * *", "monthly"),
        ("@quarterly", "monthly"),
        ("0 0 1 1 *", "yearly"),
    ],
)
def test_the_cadence_is_a_word(schedule: str | None, word: str) -> None:
    assert cadence(schedule) == word
