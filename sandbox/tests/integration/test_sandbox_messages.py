"""The stand-ins for a mail server and Slack, as real clients meet them."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from slack_sdk import WebhookClient

from support.sandbox_process import SandboxProcess


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    process.start()
    yield process
    assert process.stop() == 0


def listed(sandbox: SandboxProcess, kind: str) -> list[dict[str, Any]]:
    response = httpx.get(f"{sandbox.providers}/_sandbox/{kind}", trust_env=False)
    rows: list[dict[str, Any]] = response.raise_for_status().json()
    return rows


def client(sandbox: SandboxProcess) -> smtplib.SMTP:
    host, port = sandbox.smtp.split(":")
    return smtplib.SMTP(host, int(port), timeout=10)


def letter(subject: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, "a@example.com"
    message.set_content("as text: größer")
    message.add_alternative("<b>as html</b>", subtype="html")
    return message


def test_mail_is_kept_and_listed_even_after_a_kill(tmp_path: Path) -> None:
    sandbox = SandboxProcess(tmp_path)
    sandbox.start()
    with client(sandbox) as line:
        line.send_message(letter("Über alles"), to_addrs=["b@example.com", "c@example.com"])
    sandbox.kill()
    sandbox.start()
    (kept,) = listed(sandbox, "mail")
    assert (kept["from"], kept["to"]) == ("a@example.com", ["b@example.com", "c@example.com"])
    assert kept["subject"] == "Über alles"
    assert (kept["text"].strip(), kept["html"].strip()) == ("as text: größer", "<b>as html</b>")
    httpx.delete(f"{sandbox.providers}/_sandbox/mail", trust_env=False).raise_for_status()
    assert listed(sandbox, "mail") == []
    assert sandbox.stop() == 0


@pytest.mark.parametrize(("address", "code"), [("refused@x.co", 550), ("later@x.co", 451)])
def test_some_addresses_are_rejected(sandbox: SandboxProcess, address: str, code: int) -> None:
    with client(sandbox) as line, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        line.send_message(letter("x"), to_addrs=[address])
    assert caught.value.recipients[address][0] == code


def test_slacks_own_client_posts_to_a_webhook(sandbox: SandboxProcess) -> None:
    base = f"{sandbox.providers}/slack/services"
    # The sandbox is shared: other tests post messages too.
    httpx.delete(f"{sandbox.providers}/_sandbox/slack", trust_env=False).raise_for_status()
    response = WebhookClient(f"{base}/T1/B1/xyz").send(text="hello")
    assert (response.status_code, response.body) == (200, "ok")
    assert WebhookClient(f"{base}/gone/B1/xyz").send(text="hello").status_code == 404
    assert WebhookClient(f"{base}/T1/B1/xyz").send_dict({}).body == "no_text"
    (kept,) = listed(sandbox, "slack")
    assert (kept["webhook"], kept["text"]) == ("T1/B1/xyz", "hello")


def test_slack_takes_faults_as_the_providers_do(sandbox: SandboxProcess) -> None:
    fault = {"kind": "status", "provider": "slack", "options": {"status": 429}}
    url = f"{sandbox.providers}/_sandbox/faults"
    httpx.post(url, json=fault, trust_env=False).raise_for_status()
    response = WebhookClient(f"{sandbox.providers}/slack/services/T1/B1/xyz").send(text="hello")
    assert response.status_code == 429
    httpx.delete(url, trust_env=False).raise_for_status()
