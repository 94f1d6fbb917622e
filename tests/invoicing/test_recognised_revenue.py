"""What was paid in advance is revenue of the months in which it is served: each month's end says what was earned by then, whenever the invoice that settles it comes."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from moneyed import Money

from invoicing.closing.queries import Month
from invoicing.core.posting import DEFERRED, REVENUE
from invoicing.credit_notes.operations import CreditAsked
from invoicing.invoices.models import Invoice
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import balance_of, movements_in, trial_balance
from invoicing.recognition.models import RecognisedRevenue
from invoicing.reports.deferred import Obligation
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.tasks import recognise_revenue
from invoicing.workflows import recognise_revenue as recognise_revenue_workflow
from invoicing.workflows.close_month import checklist_of, close_month, sign_off
from invoicing.workflows.credit_invoice import credit_invoice
from invoicing.workflows.recognise_revenue import recognise_due, recognise_month
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.closing.closing import close
from tests.invoicing.reports.building import as_of
from tests.invoicing.reports.test_deferred_and_recurring import answer, cells
from tests.invoicing.selling_entities import an_entity
from tests.races import at_once

pytestmark = pytest.mark.django_db
JULY = datetime(2026, 7, 1, tzinfo=UTC)
YEAR_LATER = datetime(2027, 7, 1, tzinfo=UTC)
NIGHT = timedelta(minutes=50)


def first(year: int, month: int) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


def a_year(key: str = "cust_year", **of: Any) -> Invoice:
    """A year of service for 365, paid in advance on 1 July 2026."""
    a_plan("yearly", usd_fee("365") | {"in_advance": True}, cadence="year")
    a_subscription(a_customer(key, **of), plan="yearly", started_at=JULY, anchor="anniversary")
    return bill(JULY)


def bill(until: datetime) -> Invoice:
    report = issue_billing(as_of=until, at=until)
    assert not report.failures
    settle_constraints()
    return Invoice.objects.order_by("-id")[0]


def earned(before: datetime, *, entity: str = "") -> str:
    """The revenue in the books as they are at a moment."""
    none = Money(0, "USD")
    return str((none - balance_of(account=REVENUE, before=before, entity=entity).get("USD", none)).amount)


def recognise(*months: datetime) -> None:
    for one in months:
        recognise_month(month=Month(one.date()), at=one + timedelta(days=32))
    settle_constraints()


def wait_until_somebody_waits() -> None:
    """Come back once another session waits for a lock; after ten seconds anyway."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
        time.sleep(0.05)


def test_a_year_that_is_paid_in_advance_is_earned_by_its_days_month_after_month() -> None:
    a_year()

    recognise(first(2026, 7), first(2026, 8), first(2026, 9))

    assert [earned(first(2026, month)) for month in (8, 9, 10)] == ["31.00", "62.00", "92.00"]
    [moved] = movements_in(span=Month(date(2026, 8, 1)).span, account=REVENUE)
    assert (moved.closing - moved.opening).amount == Decimal("-31.00"), "August earned its own days"
    assert balance_of(account=DEFERRED, before=first(2026, 9))["USD"].amount == Decimal("-303.00")
    assert {one.account: str(one.amount.amount) for one in trial_balance() if one.account in (DEFERRED, REVENUE)} == {
        DEFERRED: "-365.00",
        REVENUE: "0.00",
    }, "within a month the books say what invoices say"
    assert verify() == []


def test_what_was_earned_month_by_month_is_earned_once_when_the_next_invoice_settles_it() -> None:
    a_year()
    months = [first(2026, month) for month in range(7, 13)] + [first(2027, month) for month in range(1, 7)]
    recognise(*months)
    bill(YEAR_LATER)
    recognise(YEAR_LATER)

    ends = [*months[1:], YEAR_LATER]
    by_month = [Decimal(earned(end)) for end in ends]
    assert by_month[-1] == Decimal(365) and by_month == sorted(by_month)
    assert earned(first(2027, 8)) == "395.92", "the year that was settled, and July of the next, which has 366 days"
    assert verify() == []


def test_the_report_says_what_is_left_of_it_at_the_end_of_a_month_and_ties() -> None:
    a_year()
    before = cells(answer("deferred-revenue", as_of("2026-08-31")), "Deferred revenue")[0]
    recognise(first(2026, 7), first(2026, 8))

    at_the_end = cells(answer("deferred-revenue", as_of("2026-08-31")), "Deferred revenue")[0]
    the_day_after = cells(answer("deferred-revenue", as_of("2026-09-01")), "Deferred revenue")[0]

    assert (before["served"], before["held"]) == ("62.00", "365.00")
    assert ("served" in at_the_end, at_the_end["held"]) == (False, "303.00")
    assert at_the_end["month_2026_09"] == before["month_2026_09"] == "30.00"
    assert (the_day_after["served"], the_day_after["held"]) == ("63.00", "365.00")


def test_the_night_books_what_is_missing_and_a_second_night_nothing() -> None:
    a_year()

    assert recognise_due(at=first(2026, 7) + timedelta(days=5)) == 0, "the month is not over"
    assert recognise_due(at=first(2026, 10) + NIGHT) == 3
    assert recognise_due(at=first(2026, 10) + timedelta(days=1)) == 0
    assert [row.amount.amount for row in RecognisedRevenue.objects.order_by("month")] == [31, 62, 92]
    [row] = RecognisedRevenue.objects.filter(month=date(2026, 8, 1))
    assert (row.held.amount, row.service_start, row.service_end) == (365, date(2026, 7, 1), date(2027, 7, 1))
    assert row.entry.reference == f"2026-08/{row.legal_entity_id}/USD/1"
    assert recognise_revenue().endswith("entries")


def test_what_is_given_back_in_a_month_is_no_revenue_of_that_month() -> None:
    invoice = a_year()
    recognise(first(2026, 7))
    ended = datetime(2026, 8, 11, tzinfo=UTC)
    end_subscription(subscription=invoice.customer.subscriptions.get(), ended_at=ended, actor="ann", reason="leaves")
    credit_invoice(
        invoice_id=invoice.pk,
        key="rest",
        asked=(),
        disposition="offset",
        at=ended + timedelta(hours=1),
        actor="ann",
        reason="all of it, as a concession",
    )

    recognise(first(2026, 8))

    assert earned(first(2026, 8)) == "31.00"
    assert Decimal(earned(first(2026, 9))) <= 0, "nothing is left of it to be earned"
    assert verify() == []


def credited(invoice: Invoice, at: datetime, *, amount: str = "") -> None:
    asked = [CreditAsked(1, amount=Money(amount, "USD"))] if amount else []
    who = {"at": at, "actor": "ann", "reason": "a concession"}
    credit_invoice(invoice_id=invoice.pk, key=f"given-{at:%Y%m%d}", asked=asked, disposition="offset", **who)


@pytest.mark.parametrize(
    ("amount", "by_month"),
    [
        # 365 less, or 73: of 365 days each costs that much less, also those that were served.
        ("", ["31.00", "0.00", "0.00", "0.00"]),
        ("73", ["31.00", "49.60", "73.60", "98.40"]),
    ],
)
def test_what_a_credit_note_takes_off_a_running_year_is_taken_off_all_its_days(
    amount: str, by_month: list[str]
) -> None:
    invoice = a_year()
    recognise(first(2026, 7))

    credited(invoice, datetime(2026, 8, 11, tzinfo=UTC), amount=amount)
    recognise(*(first(2026, month) for month in (8, 9, 10)))

    assert [earned(first(2026, month)) for month in (8, 9, 10, 11)] == by_month
    kept = 365 - Decimal(amount or 365)
    held = balance_of(account=DEFERRED, before=first(2026, 9))["USD"].amount * -1
    assert held == kept - Decimal(by_month[1]), "what is still owed in service, at what it costs by now"
    for day in ("2026-08-10", "2026-08-15", "2026-08-31", "2026-09-15"):
        assert answer("deferred-revenue", as_of(day)).is_tied
    assert verify() == []


def test_a_concession_is_earned_once_when_the_year_is_settled() -> None:
    invoice = a_year()
    credited(invoice, datetime(2026, 8, 11, tzinfo=UTC), amount="73")

    recognise(*[first(2026, month) for month in range(7, 13)], *[first(2027, month) for month in range(1, 7)])
    bill(YEAR_LATER)
    recognise(YEAR_LATER)

    assert earned(YEAR_LATER) == "292.00", "the year costs 292, whatever the months say"
    assert earned(first(2027, 8)) == "322.92", "and the next one what it says"
    assert verify() == []


def test_a_concession_ends_with_its_subscription_and_what_was_not_served_is_given_back() -> None:
    invoice = a_year()
    credited(invoice, datetime(2026, 7, 20, tzinfo=UTC), amount="41")
    ended = datetime(2026, 8, 11, tzinfo=UTC)
    end_subscription(subscription=invoice.customer.subscriptions.get(), ended_at=ended, actor="ann", reason="leaves")

    recognise(*(first(2026, month) for month in (7, 8, 9)))

    assert [earned(first(2026, month)) for month in (8, 9, 10)] == ["0.00", "0.00", "0.00"], "41 days at 1, less 41"
    assert balance_of(account=DEFERRED, before=first(2026, 9))["USD"].amount == Decimal("-324.00")
    assert answer("deferred-revenue", as_of("2026-07-31")).is_tied and verify() == []


@pytest.mark.parametrize(("served", "held"), [("1000000", None), ("-1", None), ("1000000", "1000000"), ("366", "366")])
def test_verify_names_revenue_of_which_nobody_has_taken_the_money(
    served: str, held: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whoever has the application's role could write it: an entry, what takes it back, and a row, which agree with each other."""
    a_year()
    subscription = Subscription.objects.get()
    with monkeypatch.context() as forged:
        forged.setattr(Obligation, "served_by", lambda self, day: Money(served, "USD"))
        if held:
            real = recognise_revenue_workflow.fees_in_advance
            forged.setattr(
                recognise_revenue_workflow,
                "fees_in_advance",
                lambda **of: [replace(one, amount=Money(held, "USD")) for one in real(**of)],
            )
        recognise(JULY)

    [found] = [one for one in verify() if one.subject == f"subscription {subscription.key}"]
    assert f"{served}" in found.message and "by the end of 2026-07" in found.message


def test_a_month_is_corrected_by_what_is_missing_and_says_both() -> None:
    invoice = a_year()
    recognise(first(2026, 7))
    a_subscription(a_customer("cust_other"), plan="yearly", started_at=JULY, anchor="anniversary")
    issue_billing(as_of=JULY, at=JULY + timedelta(days=30))

    recognise(first(2026, 7))

    rows = RecognisedRevenue.objects.order_by("id")
    assert [(row.subscription.customer.key, row.amount.amount) for row in rows] == [
        (invoice.customer.key, 31),
        ("cust_other", 31),
    ]
    assert {row.entry.reference.rsplit("/", 1)[1] for row in rows} == {"1", "2"}
    assert earned(first(2026, 8)) == "62.00" and verify() == []


def test_each_company_earns_what_its_customers_are_served() -> None:
    a_year()
    an_entity(key="atlantis")
    a_subscription(
        a_customer("cust_atlantis", legal_entity="atlantis"), plan="yearly", started_at=JULY, anchor="anniversary"
    )
    bill(JULY + timedelta(hours=1))

    recognise(first(2026, 7))

    assert earned(first(2026, 8), entity="atlantis") == "31.00" and earned(first(2026, 8)) == "62.00"
    assert answer("deferred-revenue", as_of("2026-07-31")).is_tied


def test_a_close_books_it_before_it_certifies_and_afterwards_nothing_is_booked() -> None:
    a_year()

    closed = close(Month(date(2026, 7, 1)), at=first(2026, 8) + timedelta(days=3))

    assert earned(first(2026, 8)) == "31.00"
    assert closed.certificate["month"] == "2026-07"
    assert recognise_month(month=Month(date(2026, 7, 1)), at=first(2026, 9)) == []
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_two_nights_at_once_book_it_once() -> None:
    a_year()

    done = at_once(*[lambda: recognise_due(at=first(2026, 9) + NIGHT)] * 2)

    assert sorted(done) == [0, 2]
    assert RecognisedRevenue.objects.count() == 2 and earned(first(2026, 9)) == "62.00"


@pytest.mark.django_db(transaction=True)
def test_a_close_waits_for_the_night_and_the_night_for_a_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """They took recognition and books in opposite order: PostgreSQL ended one of them."""
    a_year()
    july, at = Month(date(2026, 7, 1)), first(2026, 8) + timedelta(days=3)
    for one in checklist_of(month=july, at=at).open_checks:
        sign_off(month=july, check=one.checked.name, digest=one.checked.digest, at=at, actor="ann", reason="month end")
    digest = checklist_of(month=july, at=at).digest
    at_work, problems, really = threading.Event(), list[str](), recognise_revenue_workflow._recognised

    def slowly(month: Month, entity: str) -> Any:
        if threading.current_thread().name == "night":
            at_work.set()
            wait_until_somebody_waits()
        return really(month, entity)

    def run(act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as problem:
            problems.append(f"{type(problem).__name__}: {problem}")
        finally:
            connection.close()

    monkeypatch.setattr(recognise_revenue_workflow, "_recognised", slowly)
    night = threading.Thread(target=run, args=[lambda: recognise_due(at=at)], name="night")
    closing = threading.Thread(
        target=run, args=[lambda: close_month(month=july, digest=digest, at=at, actor="ann", reason="month end")]
    )
    night.start()
    assert at_work.wait(20)
    closing.start()
    night.join()
    closing.join()

    # The night has booked something: the checklist that was seen is another by now, which is said kindly.
    assert [one for one in problems if not one.startswith("Conflict")] == []
    assert earned(first(2026, 8)) == "31.00"


def test_a_year_that_was_cancelled_is_earned_up_to_its_end_and_the_rest_is_to_be_given_back() -> None:
    invoice = a_year()
    subscription = invoice.customer.subscriptions.get()
    end_subscription(
        subscription=subscription, ended_at=datetime(2026, 8, 11, tzinfo=UTC), actor="ann", reason="leaves"
    )

    recognise(*(first(2026, month) for month in (7, 8, 9, 10)))

    assert [earned(first(2026, month)) for month in (8, 9, 10, 11)] == ["31.00", "41.00", "41.00", "41.00"]
    [row] = cells(answer("deferred-revenue", as_of("2026-07-31")), "Deferred revenue")
    assert (row["month_2026_08"], row["used"], row["held"]) == ("10.00", "324.00", "334.00")
    assert "month_2026_09" not in row, "no month after its end earns anything of it"
    assert verify() == []


def test_what_is_left_after_the_last_invoice_is_no_revenue_of_any_month() -> None:
    a_plan("pro", usd_fee("31") | {"in_advance": True})
    subscription = a_subscription(a_customer("cust_acme"), started_at=JULY)
    bill(JULY)
    end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=10), actor="ann", reason="leaves")

    last = bill(first(2026, 8))
    recognise(*(first(2026, month) for month in (7, 8, 9, 10)))

    assert last.lines.get(kind="charge").amount.amount == 10
    assert [earned(first(2026, month)) for month in (8, 9, 10, 11)] == ["10.00"] * 4
    assert balance_of(account=DEFERRED, before=first(2026, 11))["USD"].amount == Decimal("-21.00")
    assert verify() == []


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_recognisedrevenue SET amount = 30",
        "DELETE FROM invoicing_recognisedrevenue",
        "TRUNCATE invoicing_recognisedrevenue",
        "INSERT INTO invoicing_recognisedrevenue (month, legal_entity_id, subscription_id, entry_id, service_start, service_end, currency, held, amount)"
        " SELECT month, legal_entity_id, subscription_id, entry_id, service_start, service_end, currency, held, 1 FROM invoicing_recognisedrevenue",
        "INSERT INTO invoicing_recognisedrevenue (month, legal_entity_id, subscription_id, entry_id, service_start, service_end, currency, held, amount)"
        " SELECT month, legal_entity_id, subscription_id, (SELECT min(id) FROM invoicing_journalentry WHERE kind = 'issue'), service_start,"
        " service_end, currency, held, 1 FROM invoicing_recognisedrevenue",
    ],
)
def test_what_was_recognised_is_carved_in_stone(attack: str) -> None:
    a_year()
    recognise(first(2026, 7))

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(attack)


def test_verify_names_an_entry_that_its_rows_do_not_explain_or_that_is_not_taken_back() -> None:
    a_year()
    recognise(first(2026, 7))
    with connection.cursor() as cursor:
        settle_constraints()
        cursor.execute("ALTER TABLE invoicing_recognisedrevenue DISABLE TRIGGER USER")
        cursor.execute("UPDATE invoicing_recognisedrevenue SET amount = 30")
        cursor.execute("ALTER TABLE invoicing_journalentry DISABLE TRIGGER USER")
        cursor.execute("UPDATE invoicing_journalentry SET reference = 'x' WHERE kind = 'recognition_end'")
        found = sorted({finding.message for finding in verify()})

    assert any(re.fullmatch("it recognises 31[.]0+, its subscriptions 30([.]0+)?", message) for message in found), found
    assert any("it does not" in message for message in found)


def test_nothing_is_recognised_where_nothing_is_paid_in_advance() -> None:
    a_plan("pro", usd_fee("30"))
    a_subscription(a_customer(), started_at=JULY)
    bill(first(2026, 8))

    assert recognise_due(at=first(2026, 10)) == 0
    assert not JournalEntry.objects.filter(kind="recognition").exists()
