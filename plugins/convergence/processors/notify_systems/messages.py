"""Build the text of a message from a report and the templates of a channel.

Templates are files of the pipeline author and run in a sandbox. Text from a tenant or a provider
enters a template only as a value. Each value is cleaned first: secrets are masked, control
characters are removed, and the text is escaped for its format.
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
    """Total of a table's days of the run, of one cost basis and one currency."""

    table: str
    currency: str
    basis: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgReport:
    """The values of the message about one org's run.

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
    """The values of the platform's digest about one Airflow run over all its orgs.

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
    """A message ready to be sent; only email uses `subject` and `html`."""

    text: str
    subject: str = ""
    html: str | None = None


def render(channel: Channel, audience: Audience, report: Report, *, folder: Path) -> Message:
    """Render a report with the templates of a channel.

    Raises:
        ConfigurationError: a template is missing or broken, names an unknown value, or renders
            a subject of several lines; details name file and line.
    """
    files = channel.templates[audience]
    if isinstance(files, SlackTemplates):
        return Message(_render_text(folder, files.text, report, _SLACK))
    return _email(folder, files, report)


def _email(folder: Path, files: EmailTemplates, report: Report) -> Message:
    subject = _render_text(folder, files.subject, report, _PLAIN).strip()
    if not subject or len(subject.splitlines()) != 1 or len(subject) > LONGEST_SUBJECT:
        raise ConfigurationError(
            f"A subject is one line of at most {LONGEST_SUBJECT} characters", file=files.subject
        )
    return Message(
        text=_render_text(folder, files.text, report, _PLAIN),
        subject=subject,
        html=_render_text(folder, files.html, report, _HTML) if files.html else None,
    )


def clean(value: object) -> object:
    """Clean a template value: redact a text, join its lines, limit its length."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    text = redact(_UNSEEN.sub(" ", value)).strip()
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def _for_slack(value: object) -> object:
    """Escape the three characters of Slack's markup.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    cleaned = clean(value)
    if not isinstance(cleaned, str):
        return cleaned
    return cleaned.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def money(value: Decimal) -> str:
    """Format an amount without exponent and with at least two decimals."""
    text = format(value, "f")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def span(days: Iterable[date]) -> str:
    """Format days as a range: `2026-11-01 to 2026-11-03 (3 days)`."""
    ordered = sorted(days)
    if not ordered:
        return "no days"
    if len(ordered) == 1:
        return ordered[0].isoformat()
    return f"{ordered[0].isoformat()} to {ordered[-1].isoformat()} ({len(ordered)} days)"


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


def _render_text(
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
    reason = redact(str(error) or type(error).__name__)
    return ConfigurationError("A template is wrong", file=name, line=line, why=reason)


def _line(error: Exception, path: Path) -> int:
    """Return the template's line that failed."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path) and frame.lineno
    ]
    return lines[-1] if lines else 1


def specimen(audience: Audience) -> list[Report]:
    """Return sample reports of every kind, for the linter to try templates with."""
    day = date(2026, 1, 31)
    total = TableTotal(table="t_daily", currency="USD", basis="billed", amount=Decimal("1.5"))
    common: dict[str, Any] = {
        "pipeline": "a/b",
        "rows": 3,
        "totals": (total,),
        "link": "http://x/y",
    }
    if audience == "platform":
        return [
            FleetReport(
                dag_run_id="manual__1", event="failed", failed=(("acme", "why"),), **common
            ),
            FleetReport(dag_run_id="manual__1", event="idle", pipeline="a/b"),
        ]
    ids: dict[str, Any] = {"org_slug": "acme", "pipeline_id": "acme-b", "run_id": "run_1"}
    when = datetime.combine(day, datetime.min.time(), UTC)
    failed: dict[str, Any] = {"reason": "why", "error": "x: y", "warnings": ("not met",)}
    return [
        OrgReport(event="failed", days=(day,), ended_at=when, **ids, **common, **failed),
        OrgReport(event="succeeded", days=(day, date(2026, 1, 30)), **ids, **common),
        OrgReport(event="idle", pipeline="a/b", **ids),
    ]
