"""What a message says, and its text from a channel's templates.

Templates are the author's files, run in a sandbox; everything that comes from a tenant or a
provider is a value in them, cleaned on its way in: secrets masked, control characters gone,
escaped as the format needs it.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from convergence.errors import ConfigurationError
from convergence.processors.notify_systems.channels import (
    Audience,
    Channel,
    EmailTemplates,
    SlackTemplates,
)
from convergence.security.redaction import redact

LONGEST_VALUE: Final = 1000
LONGEST_SUBJECT: Final = 200
LONGEST_TEXT: Final = 30_000
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTotal:
    """What a table's days of the run come to; never added to another basis or currency."""

    table: str
    currency: str
    basis: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgReport:
    """One org's run, as its message tells it.

    Attributes:
        pipeline: its address, such as `openai/cost/usage_cost`.
        event: how the run ended: succeeded, failed, cancelled or idle.
        reason: why it failed, in a customer's words; empty when it did not.
        error: what the failing step said.
        warnings: expectations that were not met, in words.
    """

    org_slug: str
    pipeline: str
    pipeline_id: str
    run_id: str
    event: str
    days: tuple[date, ...] = ()
    rows: int = 0
    totals: tuple[TableTotal, ...] = ()
    reason: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    link: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetReport:
    """One Airflow run over all its orgs, as the platform's digest tells it.

    Attributes:
        failed: the orgs that failed, by slug, or the steps of a platform pipeline.
    """

    pipeline: str
    dag_run_id: str
    event: str
    succeeded: int = 0
    cancelled: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    rows: int = 0
    totals: tuple[TableTotal, ...] = ()
    link: str = ""


Report = OrgReport | FleetReport


@dataclass(frozen=True, slots=True)
class Message:
    """A message ready to be sent; `subject` and `html` are email's alone."""

    text: str
    subject: str = ""
    html: str | None = None


def render(channel: Channel, audience: Audience, report: Report, *, folder: Path) -> Message:
    """The message that a channel's templates make of a report.

    Raises:
        ConfigurationError: a template is missing or broken, names what no report has, or makes
            a subject of several lines; facts name file and line.
    """
    files = channel.templates[audience]
    if isinstance(files, SlackTemplates):
        return Message(_text(folder, files.text, report, _SLACK))
    return _email(folder, files, report)


def _email(folder: Path, files: EmailTemplates, report: Report) -> Message:
    subject = _text(folder, files.subject, report, _PLAIN).strip()
    if not subject or len(subject.splitlines()) != 1 or len(subject) > LONGEST_SUBJECT:
        raise ConfigurationError(
            f"A subject is one line of at most {LONGEST_SUBJECT} characters", file=files.subject
        )
    return Message(
        text=_text(folder, files.text, report, _PLAIN),
        subject=subject,
        html=_text(folder, files.html, report, _HTML) if files.html else None,
    )


def clean(value: object) -> object:
    """A value as a template prints it: a text is redacted, on one line, and not endless."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = redact(_UNSEEN.sub(" ", value)).strip()
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _for_slack(value: object) -> object:
    """The three characters that Slack's markup is made of, escaped as its documentation says.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    told = clean(value)
    if not isinstance(told, str):
        return told
    return told.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def money(value: Decimal) -> str:
    """An amount as people write it: no exponent, at least two decimals."""
    text = format(value, "f")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def span(days: Iterable[date]) -> str:
    """Days as a range: `2026-11-01 to 2026-11-03 (3 days)`."""
    told = sorted(days)
    if not told:
        return "no days"
    if len(told) == 1:
        return told[0].isoformat()
    return f"{told[0].isoformat()} to {told[-1].isoformat()} ({len(told)} days)"


def _environment(
    *, finalize: Callable[[object], object], autoescape: bool = False
) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"money": money, "span": span}
    return environment


_PLAIN = _environment(finalize=clean)
_HTML = _environment(finalize=clean, autoescape=True)
_SLACK = _environment(finalize=_for_slack)


def _text(
    folder: Path, name: str, report: Report, environment: ImmutableSandboxedEnvironment
) -> str:
    path = folder / "templates" / name
    try:
        code = environment.compile(path.read_text(encoding="utf-8"), name, str(path))
        template = environment.template_class.from_code(environment, code, environment.globals)
        return redact(template.render(report=report))[:LONGEST_TEXT]
    except OSError as error:
        raise ConfigurationError(
            "A template can't be read", file=name, line=1, why=error.strerror
        ) from None
    except jinja2.TemplateSyntaxError as error:
        raise _broken(name, error.lineno, error) from None
    except Exception as error:  # noqa: BLE001  # an author's template may fail in any way
        raise _broken(name, _line(error, path), error) from None


def _broken(name: str, line: int, error: Exception) -> ConfigurationError:
    told = redact(str(error) or type(error).__name__)
    return ConfigurationError("A template is wrong", file=name, line=line, why=told)


def _line(error: Exception, path: Path) -> int:
    """The template's line that failed."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path) and frame.lineno
    ]
    return lines[-1] if lines else 1


def specimen(audience: Audience) -> list[Report]:
    """Reports of every kind, for templates to be tried on before they are needed."""
    day = date(2026, 1, 31)
    total = TableTotal(table="t_daily", currency="USD", basis="billed", amount=Decimal("1.5"))
    told: dict[str, Any] = {"pipeline": "a/b", "rows": 3, "totals": (total,), "link": "http://x/y"}
    if audience == "platform":
        return [
            FleetReport(dag_run_id="manual__1", event="failed", failed=(("acme", "why"),), **told),
            FleetReport(dag_run_id="manual__1", event="idle", pipeline="a/b"),
        ]
    ids: dict[str, Any] = {"org_slug": "acme", "pipeline_id": "acme-b", "run_id": "run_1"}
    when = datetime.combine(day, datetime.min.time(), UTC)
    failed: dict[str, Any] = {"reason": "why", "error": "x: y", "warnings": ("not met",)}
    return [
        OrgReport(event="failed", days=(day,), ended_at=when, **ids, **told, **failed),
        OrgReport(event="succeeded", days=(day, date(2026, 1, 30)), **ids, **told),
        OrgReport(event="idle", pipeline="a/b", **ids),
    ]
