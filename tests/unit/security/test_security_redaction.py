from __future__ import annotations

import base64
import io
import json
import logging
import secrets
import string
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.security import redaction
from convergence.security.keys import new_org_key
from convergence.security.redaction import MASK, RedactingFilter, redact, register_secret

SECRET = 'pa55/word+with "quotes" & ünïcode'


@pytest.fixture(autouse=True)
def _nothing_registered() -> Iterator[None]:
    redaction._registered.clear()
    yield
    redaction._registered.clear()


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger(f"test.{secrets.token_hex(4)}")
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


@given(slug=st.from_regex(r"[a-z0-9][a-z0-9_]{1,48}[a-z0-9]", fullmatch=True), before=st.text())
def test_an_org_key_never_gets_through(slug: str, before: str) -> None:
    key = new_org_key(slug)
    clean = redact(f"{before}{key} and more")
    assert key[-16:] not in clean


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key=sk-admin-sandbox-acme1234.", "admin-sandbox-acme1234"),
        ('{"k": "sk-proj-AbC_dEf-123456789"}', "AbC_dEf"),
        ("sk-ant-api03-abcdefgh is bad", "abcdefgh"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
        ("Authorization: Bearer abc.def-ghi_123", "abc.def-ghi_123"),
        ("{'Authorization': 'Basic dXNlcjpwYXNzd29yZA=='}", "dXNlcjpwYXNzd29yZA"),
        ("{'X-API-Key': 'some_value_here'}", "some_value_here"),
        ("X-CA-Root-Key: correct-horse-battery", "correct-horse"),
        ("[(b'x-admin-key', b'correct-horse')]", "correct-horse"),
        ("postgresql://user:hunter22@host/db", "hunter22"),
        ("ya29.a0AfH6SMBx-y_z", "a0AfH6SMBx"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0"),
    ],
)
def test_known_shapes_are_masked(text: str, secret: str) -> None:
    clean = redact(text)
    assert secret not in clean
    assert "[redacted]" in clean


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQ\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("text", [PEM, json.dumps({"private_key": PEM}), PEM[:60], repr(PEM)])
def test_private_keys_are_masked_whole_escaped_or_cut(text: str) -> None:
    clean = redact(f"before {text}")
    assert "MIIEvQIBADANBgkq"[:10] not in clean
    assert "hkiG9w0BAQ" not in clean
    assert clean.startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "task-instance 12 of risk-assessment",
        "org_api_keys, gcp.api_extractor, acme_corp_api_ and https://host:8080/path",
        "the bearer of this letter",
        "run_0123456789abcdef01234567",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def _encodings(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        raw.hex(),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        base64.b64encode(b"u:" + raw).decode(),
        base64.b64encode(b"user:" + raw + b":tail").decode(),
    ]


@given(secret=st.text(alphabet=string.printable + "äé€", min_size=8, max_size=60))
def test_a_registered_secret_is_masked_in_every_encoding(secret: str) -> None:
    redaction._registered.clear()
    register_secret(secret)
    for encoded in _encodings(secret):
        clean = redact(f"<{encoded}>")
        # Of a base64 text that holds the secret, at most the group shared with a neighbour stays.
        kept = clean.replace(MASK, "")
        assert len(kept) <= max(len(encoded) - len(secret), 0) + 10, (encoded, clean)
        assert encoded not in clean


@given(st.text())
def test_masking_twice_changes_nothing(text: str) -> None:
    register_secret(SECRET)
    once = redact(text + SECRET + " sk-abcdefghijkl Bearer abcdefghijkl")
    assert redact(once) == once


def test_short_values_are_not_registered() -> None:
    register_secret("abc")
    assert redact("abc is fine") == "abc is fine"


def test_the_registry_is_bounded() -> None:
    for number in range(redaction.MAX_SECRETS + 5):
        register_secret(f"secret-number-{number}")
    assert len(redaction._registered) == redaction.MAX_SECRETS
    assert "secret-number-0" not in redaction._registered


def test_a_record_is_masked_in_message_arguments_and_extras(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = log
    register_secret(SECRET)
    seen: list[logging.LogRecord] = []
    logger.handlers[0].addFilter(_keeper(seen))
    logger.warning("%s and %r", SECRET, {"key": SECRET}, extra={"credential": [SECRET]})
    assert SECRET not in stream.getvalue()
    assert SECRET not in repr(vars(seen[0]))
    assert MASK in stream.getvalue()


def _keeper(seen: list[logging.LogRecord]) -> logging.Filter:
    class Keeper(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            seen.append(record)
            return True

    return Keeper()


def _fail() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        raise RuntimeError("Bearer abcdefghijklmnop") from error


def test_an_exception_is_masked_with_its_causes(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    register_secret(SECRET)
    seen: list[logging.LogRecord] = []
    logger.handlers[0].addFilter(_keeper(seen))
    try:
        _fail()
    except RuntimeError:
        logger.exception("it failed", stack_info=True)
    told = stream.getvalue()
    assert SECRET not in told
    assert "abcdefghijklmnop" not in told
    assert "RuntimeError" in told
    assert "ValueError" in told
    assert seen[0].exc_info is None, "another formatter would render the exception again"


def test_arguments_that_do_not_fit_their_format_are_masked_too(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = log
    register_secret(SECRET)
    template = "%d %d"
    logger.warning(template, SECRET)
    assert SECRET not in stream.getvalue()
