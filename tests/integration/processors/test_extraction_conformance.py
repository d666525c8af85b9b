"""What every extracting processor keeps to, whatever its provider does and whenever it is killed.

Each subject runs as its shipped pipeline has it. A fault ends in exactly the rows that there are
without it, or in an error with a name and what was published before, untouched.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from _pytest.mark import ParameterSet

from convergence.errors import (
    ConvergenceError,
    ProviderProtocolError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from convergence.extract import http
from convergence.extract.http import HttpLimits
from convergence.extract.ratelimit import Allowance
from convergence.extract.retry import RetryPolicy
from convergence.processors import registry
from support.extraction_subjects import (
    HELD_ELSEWHERE,
    PROCESSORS_THAT_DO_NOT,
    SUBJECTS,
    Subject,
    Trial,
)
from support.processor_env import NOW, ProcessorEnv
from support.sandbox_process import SandboxProcess

TOO_MUCH = {"size": 34 * 1024 * 1024}
NOWHERE = "http://127.0.0.1:9/elsewhere"
PASSING: dict[str, dict[str, Any]] = {
    "connection reset": {"kind": "reset"},
    "body cut short": {"kind": "truncated"},
    "packed body cut short": {"kind": "truncated_gzip"},
    "no answer": {"kind": "hang"},
    "answer drips": {"kind": "drip", "options": {"rate": 20}},
    "429 with Retry-After": {"kind": "rate_limited", "options": {"retry_after": "0"}},
    "429 with a date": {
        "kind": "rate_limited",
        "options": {"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"},
    },
    "429 with nonsense": {"kind": "rate_limited", "options": {"retry_after": "soon"}},
    "500": {"kind": "status", "options": {"status": 500}},
    "502 as a page": {"kind": "status", "options": {"status": 502}},
    "503 three times": {"kind": "status", "count": 3, "options": {"status": 503}},
    "JSON cut short": {"kind": "malformed"},
    "HTML with 200": {"kind": "html"},
    "no UTF-8": {"kind": "bad_utf8"},
}
"""Asked again, there is nothing wrong."""
SLOW = {"no answer", "answer drips"}
SELDOM_SHOWN = PASSING.keys() - {"connection reset", "503 three times", "JSON cut short"}
FIRST = next(iter(SUBJECTS))
SELDOM = pytest.mark.slow
REFUSED: dict[str, tuple[dict[str, Any], type[ConvergenceError]]] = {
    "huge body": ({"kind": "oversized", "options": TOO_MUCH}, ProviderProtocolError),
    "bomb": ({"kind": "gzip_bomb", "options": TOO_MUCH}, ProviderProtocolError),
    "redirect": ({"kind": "redirect", "options": {"location": NOWHERE}}, ProviderProtocolError),
    "NaN": ({"kind": "nan"}, ProviderProtocolError),
    "number out of range": ({"kind": "huge_number"}, ProviderProtocolError),
    "duplicate keys": ({"kind": "duplicate_keys"}, ProviderProtocolError),
    "nested too deep": ({"kind": "deep_nesting"}, ProviderProtocolError),
    "rows are null": ({"kind": "null_page"}, ProviderProtocolError),
    "key revoked": ({"kind": "unauthorized"}, ProviderRejectedError),
    "forbidden": ({"kind": "status", "options": {"status": 403}}, ProviderRejectedError),
    "500 for ever": (
        {"kind": "status", "count": None, "options": {"status": 500}},
        ProviderUnavailableError,
    ),
    "Retry-After of an hour": (
        {"kind": "rate_limited", "options": {"retry_after": "3600"}},
        ProviderUnavailableError,
    ),
}
"""Never believed: the error has a name."""
DOUBTFUL: dict[str, dict[str, Any]] = {
    "type changed": {"kind": "type_drift"},
    "cursor repeated": {"kind": "loop", "count": None},
    "cursor at the end": {"kind": "cursor_at_end", "count": None},
    "empty page": {"kind": "empty_page"},
    "pages never mentioned": {"kind": "missing_page"},
    "row repeated": {"kind": "duplicate_rows"},
    "window shifted": {"kind": "shifted_window", "count": 2},
    "link to another host": {"kind": "foreign_link", "options": {"location": NOWHERE}},
    "key revoked on the way": {"kind": "unauthorized", "skip": 1},
    "500s on the way": {"kind": "status", "skip": 1, "count": 2},
}
"""What these come to depends on how the provider pages: exact, or an error with a name."""


@pytest.fixture(scope="module", autouse=True)
def _clock(sandbox: SandboxProcess) -> Iterator[None]:
    """The providers' clock is that of the environment."""
    url = f"{sandbox.providers}/_sandbox/clock"
    httpx.post(url, json={"now": NOW.isoformat()}, trust_env=False).raise_for_status()
    yield
    httpx.delete(url, trust_env=False)


SEED = "acme"


def struck(faults: Iterable[str]) -> list[ParameterSet]:
    """Every subject with every fault that differs from a valid response of its provider.

    What passes does so by the one client that all of them share: one subject shows all of it by
    default, the others a part.
    """
    return [
        pytest.param(name, fault, marks=SELDOM if fault in SELDOM_SHOWN and name != FIRST else ())
        for name, subject in SUBJECTS.items()
        for fault in faults
        if fault not in subject.unseen
    ]


@dataclass(frozen=True)
class Sound:
    """A trial, what it has published, and what a run without any fault leaves."""

    trial: Trial
    before: list[str]
    exact: list[str]


@pytest.fixture(scope="module")
def _known() -> dict[str, Sound]:
    return {}


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    chosen = SUBJECTS[request.param]
    if chosen.small_pages is not None:
        monkeypatch.setattr(*chosen.small_pages)
    return chosen


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long between two tries, or for leave to ask."""
    monkeypatch.setattr(RetryPolicy, "ceiling", lambda _self, _failures: 0.01)
    monkeypatch.setattr(Allowance, "acquire", lambda *_args, **_more: None)


@pytest.fixture
def fresh(subject: Subject, env: ProcessorEnv, sandbox: SandboxProcess) -> Iterator[Trial]:
    """The subject, which has never run."""
    trial = Trial(subject, env.new_org(), sandbox, seed=SEED)
    yield trial
    trial.clear()


@pytest.fixture
def sound(
    subject: Subject, env: ProcessorEnv, sandbox: SandboxProcess, _known: dict[str, Sound]
) -> Iterator[Sound]:
    """The subject, run once without any fault.

    Where a day that is published is never asked about again, for another org with the same seed.
    """
    if subject.ps_type not in _known:
        trial = Trial(subject, env.new_org(), sandbox, seed=SEED)
        trial.run()
        found = trial.published()
        _known[subject.ps_type] = Sound(trial, found, found)
    known = _known[subject.ps_type]
    if subject.once:
        other = Trial(subject, env.new_org(), sandbox, seed=known.trial.seed)
        known = Sound(other, [], known.exact)
    yield known
    known.trial.clear()


def test_no_processor_is_left_out() -> None:
    known = {name for name in registry.list_ps_types() if not name.startswith("sample.")}
    lists = (set(SUBJECTS), set(HELD_ELSEWHERE), PROCESSORS_THAT_DO_NOT)
    assert known == set().union(*lists)
    assert sum(map(len, lists)) == len(known)
    assert all((Path(__file__).parent / name).is_file() for name in HELD_ELSEWHERE.values())


def test_running_again_changes_nothing(sound: Sound) -> None:
    sound.trial.run()
    again = sound.trial.run()
    assert again.details["days_published"] == 0
    assert sound.trial.published() == sound.exact
    assert len(sound.exact) >= 1


@pytest.mark.parametrize(("subject", "fault"), struck(PASSING), indirect=["subject"])
def test_what_passes_leaves_exact_rows(
    sound: Sound, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault in SLOW:
        limits = partial(HttpLimits, read_seconds=1.5, request_seconds=3)
        monkeypatch.setattr(http, "HttpLimits", limits)
    asked = sound.trial.requests()
    sound.trial.lay(PASSING[fault])
    sound.trial.run()
    assert sound.trial.published() == sound.exact
    assert sound.trial.requests() > asked + PASSING[fault].get("count", 1)


@pytest.mark.parametrize(("subject", "fault"), struck(REFUSED), indirect=["subject"])
def test_what_can_not_be_believed_has_a_name(sound: Sound, fault: str) -> None:
    told, error = REFUSED[fault]
    sound.trial.lay(told)
    with pytest.raises(error) as failure:
        sound.trial.run()
    assert sound.trial.key not in f"{failure.value!r} {failure.value}"
    assert sound.trial.published() == sound.before


@pytest.mark.parametrize(("subject", "fault"), struck(DOUBTFUL), indirect=["subject"])
def test_what_is_doubtful_is_exact_or_has_a_name(sound: Sound, fault: str) -> None:
    asked = sound.trial.requests()
    sound.trial.lay(DOUBTFUL[fault])
    try:
        sound.trial.run()
        expected = sound.exact
    except (ProviderProtocolError, ProviderRejectedError):
        expected = sound.before
    assert sound.trial.published() == expected
    assert sound.trial.requests() - asked < 60


def test_a_first_run_that_fails_publishes_nothing_and_the_next_try_all(fresh: Trial) -> None:
    fresh.lay({"kind": "status", "count": None, "options": {"status": 500}})
    with pytest.raises(ProviderUnavailableError):
        fresh.run(run_id="run_1")
    assert fresh.published() == []
    fresh.clear()
    fresh.run(run_id="run_1", attempt=2)
    assert len(fresh.published()) > 0


@pytest.mark.parametrize(
    "subject",
    [pytest.param(name, marks=() if name == FIRST else SELDOM) for name in SUBJECTS],
    indirect=True,
)
def test_a_worker_killed_in_the_middle_is_gone_on_from(fresh: Trial) -> None:
    # Every answer comes late, so that the kill finds the worker at work.
    fresh.lay({"kind": "drip", "count": None, "options": {"rate": 500}})
    asked = fresh.requests()
    killed = fresh.job(run_id="run_1").start()
    deadline = time.monotonic() + 90
    while fresh.requests() == asked and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert killed.returncode == -signal.SIGKILL
    assert fresh.published() == []
    fresh.clear()
    fresh.run(run_id="run_1", attempt=2)
    whole = fresh.published()
    fresh.run(run_id="run_2")
    assert whole == fresh.published()
    assert len(whole) > 0
