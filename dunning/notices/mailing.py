"""Hand one mail to Django's mail backend, and tell what became of it: taken, refused, or nobody knows."""

import smtplib
from dataclasses import dataclass
from typing import Any

import requests
from anymail.exceptions import (
    AnymailAPIError,
    AnymailConfigurationError,
    AnymailInvalidAddress,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from django.core.mail import EmailMultiAlternatives, get_connection

from dunning.notices.models import Notice

# From this answer on a server refuses for good (RFC 5321, 4.2.1); of HTTP from this on the fault is the provider's own.
SMTP_FOR_GOOD = 500
HTTP_SERVER_FAULT = 500
ERROR_MAX = 500


@dataclass(frozen=True)
class Handed:
    """What became of a mail that was handed over; `provider_id` is what the provider calls it, "" where it says nothing."""

    provider_id: str = ""


@dataclass(frozen=True)
class Refused:
    """The mail server did not take it: it was not sent."""

    said: str
    is_final: bool


@dataclass(frozen=True)
class Lost:
    """The connection broke while the mail was handed over: it may have been sent."""

    said: str


def hand_over(*, notice: Notice) -> Handed | Refused | Lost:
    """Send the mail that a notice holds, once. Called outside of any transaction."""
    message = message_of(notice=notice)
    connection = get_connection()
    try:
        connection.open()
    except Exception as problem:
        # Whatever it is: nothing was handed over yet.
        return Refused(_said(problem), is_final=False)
    try:
        connection.send_messages([message])
    except Exception as problem:
        # What is no clear refusal may have been sent all the same, whatever it is.
        return refusal_of(problem) or Lost(_said(problem))
    finally:
        _close(connection)
    status = getattr(message, "anymail_status", None)
    return Handed(provider_id=str(getattr(status, "message_id", None) or "")[:255])


def message_of(*, notice: Notice) -> EmailMultiAlternatives:
    """Return the mail that a notice holds, with the name by which providers tell what became of it."""
    message: Any = EmailMultiAlternatives(
        subject=notice.subject,
        body=notice.text,
        from_email=notice.from_address,
        to=[notice.to_address],
        reply_to=[notice.reply_to] if notice.reply_to else None,
        headers={"Message-ID": notice.message_id, "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(notice.html, "text/html")
    # Read by anymail's backends alone; it comes back with each event.
    message.metadata = {"notice": str(notice.pk)}
    return message  # type: ignore[no-any-return]


def refusal_of(problem: Exception) -> Refused | None:
    """Return a failure as the refusal that it is; None where the mail may have been sent."""
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        is_final = any(code >= SMTP_FOR_GOOD for code, _ in problem.recipients.values())
        return Refused(_said(problem), is_final=is_final)
    if isinstance(problem, AnymailRecipientsRefused | AnymailInvalidAddress | ValueError):
        # ValueError: what cannot be written as a mail at all (BadHeaderError, UnicodeError).
        return Refused(_said(problem), is_final=True)
    if isinstance(problem, smtplib.SMTPResponseException | smtplib.SMTPNotSupportedError):
        return Refused(_said(problem), is_final=False)
    if isinstance(problem, AnymailConfigurationError | AnymailUnsupportedFeature | AnymailSerializationError):
        return Refused(_said(problem), is_final=False)
    if isinstance(problem, AnymailAPIError) and _is_not_taken(problem):
        return Refused(_said(problem), is_final=False)
    return None


def _is_not_taken(problem: AnymailAPIError) -> bool:
    if problem.status_code is not None:
        return int(problem.status_code) < HTTP_SERVER_FAULT
    # Without an answer only that there was no connection at all is known to be harmless.
    return isinstance(problem.__cause__, requests.ConnectTimeout)


def _close(connection: Any) -> None:
    try:
        connection.close()
    except OSError:
        # The mail was handed over before, or not: that the goodbye fails changes nothing.
        return


def _said(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}".replace("\x00", "")[:ERROR_MAX]
