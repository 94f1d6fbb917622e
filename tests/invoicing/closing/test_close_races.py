"""Closing while others post: no entry slips into a month while it closes, whatever the isolation of who writes it."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from invoicing.closing.models import MonthClose
from invoicing.ledger.models import Books, JournalEntry
from invoicing.ledger.queries import journal_figures
from invoicing.workflows.close_certificate import journal_document
from invoicing.workflows.close_month import checklist_of, close_month
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, SEPTEMBER, a_customer
from tests.invoicing.closing.closing import AUGUST_MONTH, WHY
from tests.invoicing.selling import item, once, paid
from tests.races import at_once

pytestmark = pytest.mark.django_db(transaction=True)
AT = SEPTEMBER + timedelta(days=2)
IN_AUGUST = AUGUST + timedelta(days=20)
PAYERS, PAYMENTS = 3, 12


def close_august() -> MonthClose:
    return close_month(month=AUGUST_MONTH, digest=checklist_of(month=AUGUST_MONTH, at=AT).digest, at=AT, **WHY)


def test_who_posts_while_the_month_closes_is_counted_by_its_certificate_or_booked_in_the_next() -> None:
    invoices = [
        once(a_customer(f"cust_{number}"), item("100"), key=f"once-{number}", at=AUGUST) for number in range(PAYERS)
    ]

    def pay_bit_by_bit(place: int) -> None:
        for number in range(PAYMENTS):
            paid(invoices[place], "1", reference=f"T-{place}-{number}", at=IN_AUGUST)

    outcomes = at_once(close_august, *[lambda place=place: pay_bit_by_bit(place) for place in range(PAYERS)])

    assert [one for one in outcomes if isinstance(one, BaseException)] == []
    close = MonthClose.objects.get()
    assert journal_document(figures=journal_figures(span=AUGUST_MONTH.span)) == close.certificate["journal"]
    later = JournalEntry.objects.filter(booked_at=SEPTEMBER).count()
    assert close.certificate["journal"]["entries"] + later == PAYERS * (PAYMENTS + 1)
    assert verify() == []


def test_a_close_waits_for_who_has_posted_and_counts_what_he_posted() -> None:
    invoice = once(a_customer(), item("100"), at=AUGUST)
    has_posted, may_commit = threading.Event(), threading.Event()

    def post_slowly() -> None:
        with transaction.atomic():
            paid(invoice, "1", at=IN_AUGUST)
            has_posted.set()
            assert may_commit.wait(30)

    def close_then() -> MonthClose:
        assert has_posted.wait(30)
        return close_august()

    def let_go_once_the_close_waits() -> None:
        assert has_posted.wait(30)
        for _ in range(3000):
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                if cursor.fetchone()[0]:
                    break
        may_commit.set()

    _, close, _ = at_once(post_slowly, close_then, let_go_once_the_close_waits)

    assert close.certificate["journal"]["entries"] == 2
    assert JournalEntry.objects.get(kind="payment").booked_at == IN_AUGUST


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_who_sees_the_books_as_they_were_before_the_close_is_refused(level: str) -> None:
    invoice = once(a_customer(), item("100"), at=AUGUST)
    closed: list[Any] = []

    with pytest.raises(OperationalError, match="could not serialize"), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        assert Books.objects.get().open_from is None
        closed += at_once(close_august)
        paid(invoice, "1", at=IN_AUGUST)

    assert isinstance(closed[0], MonthClose)
    assert not JournalEntry.objects.filter(kind="payment").exists()
