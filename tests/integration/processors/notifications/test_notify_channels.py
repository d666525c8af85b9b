"""Messages through a real SMTP server and a real webhook, in good and bad days."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from convergence.errors import ConfigurationError
from convergence.processors.notify_systems.channels import channel, folder_of
from convergence.processors.notify_systems.messages import (
    OrgReport,
    TableTotal,
    render,
    specimen,
)
from convergence.processors.notify_systems.notifier import Delivery, Notifier
from convergence.settings import PROJECT_ROOT
from convergence.state import notifications
from convergence.state.notifications import NotificationKey, NotificationStatus
from convergence.state.store import StateStore
from support.mail_server import MailServer, WebhookServer

CONFIGS = PROJECT_ROOT / "include" / "configs"
NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
EMAIL = NotificationKey("run_1", "acme_corp", "email", "failed")
SLACK = EMAIL._replace(channel="slack")
REPORT = OrgReport(
    org_slug="acme_corp",
    pipeline="openai/cost/usage_cost",
    pipeline_id="acme_corp-openai-usage-cost",
    run_id="run_1",
    event="failed",
    days=(date(2026, 11, 19), date(2026, 11, 20)),
    rows=1200,
    totals=(
        TableTotal(
            table="openai_cost_daily", currency="USD", basis="computed", amount=Decimal("14.375")
        ),
    ),
    reason="The provider refused our request.",
    error="extract_usage: refused <b>401</b> & sk-proj-abcdefghijklmnop",
    link="https://api.example.com/api/v1/pipelines/runs/acme_corp/run_1",
)


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with MailServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server.connection())
        yield server


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookServer]:
    with WebhookServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SLACKWEBHOOK_DEFAULT", server.connection())
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    store = StateStore.connect(f"sqlite:///{tmp_path}/state.db")
    yield store
    store.close()


class Post:
    """A notifier whose waits take no time, and what became of its messages."""

    def __init__(self, store: StateStore, configs: Path = CONFIGS) -> None:
        self.store = store
        self.waits: list[float] = []
        self.notifier = Notifier(store, configs, lambda: NOW, sleep=self.waits.append)

    def email(self, *to: str, report: OrgReport = REPORT) -> Delivery:
        try:
            return self.notifier.send_report(
                EMAIL, report, audience="organization", to=to or ("a@b.co",)
            )
        finally:
            self.notifier.close()

    def slack(self, *to: str, report: OrgReport = REPORT) -> Delivery:
        names = to or ("slackwebhook_default",)
        return self.notifier.send_report(SLACK, report, audience="organization", to=names)

    def kept(self, key: NotificationKey) -> notifications.Notification:
        with self.store.read() as conn:
            found = notifications.get_notification(conn, key)
        assert found is not None
        return found


@pytest.fixture
def post(store: StateStore) -> Post:
    return Post(store)


def test_an_email_tells_what_happened_in_text_and_html(post: Post, mail: MailServer) -> None:
    told = post.email("cfo@acme.example", "ops@acme.example")
    assert told == Delivery(key=EMAIL, sent=True, recipients=2)
    (message,) = mail.box.messages
    assert mail.box.recipients == [("cfo@acme.example", "ops@acme.example")]
    assert message["From"] == "convergence@example.com"
    assert message["Auto-Submitted"] == "auto-generated"
    assert str(message["Subject"]).strip() == (
        "acme_corp: openai/cost/usage_cost failed, 2026-11-19 to 2026-11-20 (2 days)"
    )
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    for part in ("The provider refused our request.", "openai_cost_daily", "14.375", "USD"):
        assert part in text.get_content()
        assert part in html.get_content()
    assert "14.375 USD (computed)" in text.get_content()
    assert "refused &lt;b&gt;401&lt;/b&gt; &amp; " in html.get_content()
    assert "refused <b>401</b> & " in text.get_content()
    assert REPORT.link in text.get_content()


def test_a_secret_in_an_error_is_never_sent(
    post: Post, mail: MailServer, hook: WebhookServer
) -> None:
    post.email()
    post.slack()
    assert "abcdefghijklmnop" not in mail.box.messages[0].as_string()
    assert "abcdefghijklmnop" not in str(hook.posted)
    assert "sk-[redacted]" in mail.box.messages[0].as_string()


def test_the_same_message_is_sent_once_however_often_it_is_asked_for(
    store: StateStore, mail: MailServer
) -> None:
    first, second = Post(store), Post(store)
    assert first.email() == second.email() == Delivery(key=EMAIL, sent=True, recipients=1)
    assert len(mail.box.messages) == 1
    assert (first.notifier.summary()["sent"], second.notifier.summary()["sent"]) == (1, 0)


def test_what_failed_as_often_as_it_is_tried_is_told_as_failed(
    store: StateStore, hook: WebhookServer
) -> None:
    hook.answers = [(500, {})] * 9
    for _ in range(2):
        assert Post(store).slack() == Delivery(key=SLACK, sent=False, error="Slack says: no (500)")
    assert len(hook.answers) == 6


@pytest.mark.parametrize("answer", ["451 later, please", "421 busy"])
def test_a_server_that_says_later_is_asked_again(post: Post, mail: MailServer, answer: str) -> None:
    mail.box.answers = [answer, answer]
    told = post.email()
    assert told.sent
    assert post.waits == [2.0, 4.0]
    assert (post.kept(EMAIL).status, post.kept(EMAIL).attempts) == (NotificationStatus.SENT, 3)


def test_a_server_that_refuses_is_asked_once_and_that_is_recorded(
    post: Post, mail: MailServer
) -> None:
    mail.box.answers = ["550 no such user"]
    told = post.email()
    assert told.error == "The mail server rejects every recipient (550)"
    assert post.waits == []
    kept = post.kept(EMAIL)
    assert (kept.status, kept.error) == (NotificationStatus.FAILED, told.error)


def test_one_refused_recipient_does_not_keep_the_message_from_the_others(
    post: Post, mail: MailServer
) -> None:
    mail.box.answers = ["550 no such user"]
    told = post.email("gone@acme.example", "cfo@acme.example")
    assert told == Delivery(key=EMAIL, sent=True, recipients=1)


def test_a_server_that_hangs_up_is_called_again_with_the_same_message_id(
    post: Post, mail: MailServer
) -> None:
    mail.box.drops = 1
    told = post.email()
    assert told.sent
    # The first may have arrived all the same; a mailbox knows it by its id.
    assert len({message["Message-ID"] for message in mail.box.messages}) == 1
    assert post.waits == [2.0]


def test_a_server_that_is_silent_is_given_up_after_the_timeout(
    post: Post, mail: MailServer, tmp_path: Path
) -> None:
    configs = copied(tmp_path)
    settings = configs / "notify_systems/email_notification/config.yml"
    text = settings.read_text().replace("timeout_seconds: 20", "timeout_seconds: 1")
    settings.write_text(text.replace("attempts: 3", "attempts: 1"))
    mail.box.slow_seconds = 2.0
    told = Post(post.store, configs).email()
    assert told.error == "The mail server closed the connection or sent no response in time"


def test_no_server_at_all_is_recorded_and_tried_so_many_times(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MailServer() as gone:
        connection = gone.connection()
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection)
    told = post.email()
    assert told.error == "The mail server does not respond (ConnectionRefusedError)"
    assert post.kept(EMAIL).attempts == 3


def test_a_connection_that_is_missing_is_named(post: Post) -> None:
    mailed, posted = post.email(), post.slack()
    assert mailed.error == "The Airflow Connection smtp_default is not defined"
    assert posted.error == (
        "The Airflow Connection slackwebhook_default is not defined, or holds no webhook"
    )


@pytest.mark.parametrize("address", ["x@y.co\r\nBcc: all@z.co", "two@a.co, b@c.co", "Ann <a@b.co>"])
def test_an_address_that_would_be_another_header_is_refused(
    post: Post, mail: MailServer, address: str
) -> None:
    told = post.email(address)
    assert told.error == "1 of 1 recipients are not email addresses"
    assert mail.box.messages == []


def test_line_breaks_in_a_value_can_make_neither_header_nor_line(
    post: Post, mail: MailServer
) -> None:
    report = replace(REPORT, org_slug="acme\r\nBcc: all@z.co", error="one\ntwo\u2028three")
    assert post.email(report=report).sent
    (message,) = mail.box.messages
    assert message["Bcc"] is None
    assert (
        str(message["Subject"])
        .strip()
        .startswith("acme Bcc: all@z.co: openai/cost/usage_cost failed")
    )
    assert "one two three" in message.as_string()


def test_the_password_of_the_server_is_in_no_error(
    post: Post, mail: MailServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connection = mail.connection().replace(
        '"conn_type"', '"login": "ann", "password": "hunter2hunter2", "conn_type"'
    )
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection)
    mail.box.data_answers = ["554 hunter2hunter2 is what you said"]
    with caplog.at_level(logging.DEBUG):
        told = post.email()
    assert told.error is not None
    ours = [record.getMessage() for record in caplog.records if record.name != "mail.log"]
    assert "[redacted] is what you said" in told.error
    assert "hunter2" not in str(ours)


def test_slack_is_posted_to_with_its_markup_escaped(post: Post, hook: WebhookServer) -> None:
    report = replace(REPORT, error="<!channel> & more", warnings=("sum_ties: 1 > 0",))
    told = post.slack(report=report)
    assert told == Delivery(key=SLACK, sent=True, recipients=1)
    (posted,) = hook.posted
    assert posted["path"] == "/services/T0/B0/s3cr3tw3bh00k"
    assert "&lt;!channel&gt; &amp; more" in posted["text"]
    assert "sum_ties: 1 &gt; 0" in posted["text"]
    assert f"<{REPORT.link}|run_1>" in posted["text"]
    assert "14.375 USD (computed)" in posted["text"]


def test_slack_that_throttles_is_waited_for_as_it_asks(post: Post, hook: WebhookServer) -> None:
    hook.answers = [(429, {"Retry-After": "7"}), (500, {})]
    told = post.slack()
    assert told.sent
    assert post.waits == [7.0, 4.0]
    assert len(hook.posted) == 1


def test_slack_that_stays_in_trouble_is_given_up(post: Post, hook: WebhookServer) -> None:
    hook.answers = [(500, {})] * 9
    told = post.slack()
    assert told.error == "Slack says: no (500)"
    assert post.kept(SLACK).attempts == 3


def test_slack_that_refuses_is_asked_once_and_the_webhook_is_in_no_log(
    post: Post, hook: WebhookServer, caplog: pytest.LogCaptureFixture
) -> None:
    hook.answers = [(404, {})]
    with caplog.at_level(logging.INFO):
        told = post.slack()
    assert told.error == "Slack says: no (404)"
    assert post.waits == []
    assert "s3cr3tw3bh00k" not in caplog.text


def test_of_two_webhooks_the_one_that_took_it_is_not_asked_again(
    post: Post, hook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebhookServer() as second:
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_ACME", second.connection())
        second.answers = [(503, {})]
        told = post.slack("slackwebhook_default", "slack_acme")
        assert told == Delivery(key=SLACK, sent=True, recipients=2)
        assert (len(hook.posted), len(second.posted)) == (1, 1)


def test_waiting_ends_with_the_time_that_the_run_has_for_it(
    store: StateStore, hook: WebhookServer
) -> None:
    hook.answers = [(429, {"Retry-After": "20"})] * 3
    waits: list[float] = []
    notifier = Notifier(
        store, CONFIGS, lambda: NOW, sleep=waits.append, budget=timedelta(seconds=10)
    )
    notifier.send_report(SLACK, REPORT, audience="organization", to=["slackwebhook_default"])
    assert waits == []
    assert notifier.summary() == {"sent": 0, "failed": 1}


def copied(folder: Path) -> Path:
    shutil.copytree(CONFIGS / "notify_systems", folder / "configs" / "notify_systems")
    return folder / "configs"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("one\n{% if %}", "line=2"),
        ("one\ntwo\n{{ report.nothing_such }}", "line=3"),
        ("{{ report.__class__.__mro__ }}", "unsafe"),
        ("{{ namespace.__init__.__globals__ }}", "unsafe"),
        ("{% for one in range(10000000) %}x{% endfor %}", "too big"),
    ],
)
def test_a_template_that_is_wrong_names_file_and_line_and_is_not_tried_again(
    store: StateStore, mail: MailServer, tmp_path: Path, template: str, why: str
) -> None:
    configs = copied(tmp_path)
    folder = configs / "notify_systems/email_notification/templates"
    (folder / "organization.text.j2").write_text(template)
    post = Post(store, configs)
    told = post.email()
    assert told.error is not None
    assert why in told.error
    assert "organization.text.j2" in told.error
    assert post.waits == []
    assert mail.box.messages == []


def test_a_value_is_never_a_template(post: Post, mail: MailServer) -> None:
    post.email(report=replace(REPORT, error="{{ 7 * 7 }}{% if %}"))
    assert "{{ 7 * 7 }}{% if %}" in mail.box.messages[0].as_string()


def test_a_subject_of_several_lines_is_refused(tmp_path: Path) -> None:
    configs = copied(tmp_path)
    folder = configs / "notify_systems/email_notification"
    (folder / "templates/organization.subject.j2").write_text("a\nBcc: b@c.co")
    with pytest.raises(ConfigurationError, match="A subject is one line"):
        render(channel(configs, "email"), "organization", REPORT, folder=folder)


@pytest.mark.parametrize("name", ["email", "slack"])
def test_the_platforms_own_templates_tell_every_kind_of_report(name: str) -> None:
    settings = channel(CONFIGS, name)
    for audience in settings.templates:
        for report in specimen(audience):
            message = render(settings, audience, report, folder=folder_of(CONFIGS, name))
            assert report.pipeline in message.text
