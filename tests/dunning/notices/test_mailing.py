"""What became of a mail that was handed over: taken, refused so that it may be tried again, or nobody knows."""

import smtplib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from anymail.exceptions import AnymailAPIError, AnymailConfigurationError, AnymailRecipientsRefused
from django.core import mail

from dunning.notices.mailing import Handed, Lost, Refused, hand_over, refusal_of
from dunning.notices.models import Notice
from tests.dunning.notices.telling import an_open_invoice, planned, sent

pytestmark = pytest.mark.django_db


def api_error(status: int | None, cause: Exception | None = None) -> AnymailAPIError:
    error = AnymailAPIError("the provider says no")
    error.status_code = status
    error.response = SimpleNamespace(reason="no", text="", json=dict)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("problem", "is_final"),
    [
        (smtplib.SMTPRecipientsRefused({"a@example.com": (550, b"no such user")}), True),
        (smtplib.SMTPRecipientsRefused({"a@example.com": (450, b"busy")}), False),
        (smtplib.SMTPSenderRefused(550, b"not you", "b@example.com"), False),
        (smtplib.SMTPDataError(554, b"spam"), False),
        (smtplib.SMTPAuthenticationError(535, b"password"), False),
        (AnymailRecipientsRefused("invalid"), True),
        (AnymailConfigurationError("no key"), False),
        (api_error(429), False),
        (api_error(401), False),
        (api_error(None, requests.ConnectTimeout()), False),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "no"), True),
    ],
)
def test_a_clear_refusal_is_one(problem: Exception, is_final: bool) -> None:
    refused = refusal_of(problem)

    assert refused is not None
    assert refused.is_final == is_final


@pytest.mark.parametrize(
    "problem",
    [
        smtplib.SMTPServerDisconnected("gone"),
        TimeoutError(),
        ConnectionResetError(),
        api_error(500),
        api_error(None, requests.ReadTimeout()),
        RuntimeError("anything"),
    ],
)
def test_whatever_else_happens_it_may_have_been_sent(problem: Exception) -> None:
    assert refusal_of(problem) is None


@pytest.fixture
def notice() -> Notice:
    written = sent(planned(an_open_invoice()))
    mail.outbox.clear()
    return written


class Server:
    """A mail backend that does as it is told."""

    opening: Exception | None = None
    closing: Exception | None = None

    def open(self) -> None:
        if self.opening:
            raise self.opening

    def send_messages(self, messages: list[Any]) -> int:
        for message in messages:
            message.anymail_status = type("Status", (), {"message_id": "provider-1"})
        return len(messages)

    def close(self) -> None:
        if self.closing:
            raise self.closing


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server()
    monkeypatch.setattr("dunning.notices.mailing.get_connection", lambda: one)
    yield one


def test_what_fails_before_anything_is_said_may_be_tried_again(server: Server, notice: Notice) -> None:
    server.opening = ConnectionRefusedError("nobody there")

    outcome = hand_over(notice=notice)

    assert outcome == Refused("ConnectionRefusedError: nobody there", is_final=False)


def test_the_provider_names_the_mail_and_its_goodbye_changes_nothing(server: Server, notice: Notice) -> None:
    server.closing = OSError("already gone")

    assert hand_over(notice=notice) == Handed(provider_id="provider-1")
    assert not isinstance(hand_over(notice=notice), Lost)


def test_the_file_backend_keeps_the_mail_as_a_file(notice: Notice, settings: Any, tmp_path: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)

    assert hand_over(notice=notice) == Handed()

    [file] = tmp_path.iterdir()
    text = file.read_text()
    assert f"Message-ID: {notice.message_id}" in text
    assert "Content-Type: text/plain" in text
    assert "Content-Type: text/html" in text
    assert "Auto-Submitted: auto-generated" in text
