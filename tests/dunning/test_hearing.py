"""Nothing is taken from a customer who was not told, nor sooner than it was told; what is told late is still true."""

from datetime import datetime
from smtplib import SMTPServerDisconnected

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dunning.acting import take_step_by_hand
from dunning.hearing import cases_never_told
from dunning.notices.models import MailEventKind, Notice
from dunning.notices.tracking import record_event
from dunning.rehearsal import rehearse
from dunning.sweep import sweep_dunning
from invoicing.customers.models import Customer
from tests.dunning.chasing import WHO, by_policy, case_of, deliver, late_customer, local, told, turn

pytestmark = pytest.mark.django_db


def short(key: str = "cust_acme", **fields: str) -> Customer:
    """A customer who is late and chased by the short ladder: 16, 19, 22 and 23 August."""
    customer = late_customer(key, **fields).customer
    by_policy("short", customer)
    return customer


def test_nobody_is_restricted_who_has_no_address_until_somebody_goes_on_by_hand() -> None:
    customer = short(email="")

    taken = turn(local("2026-08-16 09:00", customer), local("2026-08-25 12:00", customer))

    case, at = case_of(customer), local("2026-08-25 12:00", customer)
    assert [step.act for step in taken] == ["notice", "notice"]
    assert case.waits_because == "was never told (Warning is undeliverable, the customer has no e-mail address)"
    assert list(cases_never_told()) == [case]
    assert take_step_by_hand(case_id=case.pk, number=3, at=at, **WHO).act == "restrict"
    assert turn(at, local("2026-08-27 12:00", customer)) == [], "what was told of the restriction did not arrive either"


def test_a_mail_server_that_was_down_puts_off_what_the_mail_tells_of(monkeypatch: pytest.MonkeyPatch) -> None:
    customer = short()
    with monkeypatch.context() as down:

        def refuse(_self: object) -> None:
            raise SMTPServerDisconnected("connection refused")

        down.setattr(EmailBackend, "open", refuse)
        turn(local("2026-08-16 09:00", customer), local("2026-08-20 21:00", customer))
    reminder, warning = Notice.objects.filter(customer=customer).order_by("pk")

    morning = local("2026-08-21 09:00", customer)
    deliver(morning)

    reminder.refresh_from_db()
    warning.refresh_from_db()
    assert (reminder.state, warning.state) == ("not_needed", "sent")
    assert reminder.why.startswith("superseded before it was sent: day 4")
    assert "on 24 August 2026, we have" in warning.text, "two days after the 22nd, as the mail was late"
    taken = turn(morning, local("2026-08-26 09:00", customer))
    assert told(taken, customer) == [("08-24 09:00", "restrict", "restricted"), ("08-25 09:00", "suspend", "suspended")]


def test_a_notice_that_bounced_told_nobody() -> None:
    customer = short()
    turn(local("2026-08-16 09:00", customer), local("2026-08-20 09:00", customer))
    for notice in Notice.objects.filter(customer=customer):
        bounce(notice, local("2026-08-20 10:00", customer))

    assert turn(local("2026-08-22 09:00", customer), local("2026-08-24 09:00", customer)) == []
    assert case_of(customer).waits_because == "was never told (Warning went to ap@acme.example, which bounces)"


def bounce(notice: Notice, at: datetime) -> None:
    """A hard bounce, as the mail provider tells it."""
    record_event(
        kind=MailEventKind.BOUNCE,
        address=notice.to_address,
        provider_id="",
        notice_key=str(notice.pk),
        named=f"bounce of {notice.pk}",
        said="550 no such user",
        occurred_at=at,
    )


def test_nobody_is_written_to_in_the_night_by_a_mail_that_was_planned_by_day() -> None:
    customer = short(timezone="Asia/Kathmandu")
    sweep_dunning(at=local("2026-08-16 19:59", customer))

    deliver(local("2026-08-16 20:01", customer))

    notice = Notice.objects.get(customer=customer)
    assert (notice.state, notice.next_attempt_at) == ("planned", local("2026-08-17 08:00", customer))
    deliver(notice.next_attempt_at)
    assert len(mail.outbox) == 1


def test_the_rehearsal_knows_who_was_never_told() -> None:
    customer = short(email="")
    turn(local("2026-08-16 09:00", customer), local("2026-08-20 12:00", customer))
    at = local("2026-08-21 12:00", customer)

    [restriction] = rehearse(until=local("2026-08-22 23:00", customer), at=at)

    assert restriction.against.startswith("was never told (Warning is undeliverable")


def test_the_queries_of_the_rehearsal_do_not_grow_with_those_who_may_not_have_heard() -> None:
    def queries() -> int:
        turn(local("2026-08-16 09:00", customer), local("2026-08-20 12:00", customer))
        with CaptureQueriesContext(connection) as seen:
            rehearsed = rehearse(until=local("2026-08-22 23:00", customer), at=local("2026-08-21 12:00", customer))
        against.append({row.customer.key: row.against.partition(" (")[0] for row in rehearsed})
        return len(seen)

    against: list[dict[str, str]] = []
    customer = short()
    before = queries()
    for key in ("cust_b", "cust_c"):
        short(key, email="")

    assert queries() == before
    assert against[1] == {"cust_acme": "", "cust_b": "was never told", "cust_c": "was never told"}
