"""What happened in a closed month is booked as the first open one begins; every report goes by that, and ties to the cent."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from invoicing.customers.models import Customer
from invoicing.ledger.models import Books, JournalEntry
from invoicing.reports.catalogue import REPORTS, report_kind
from invoicing.reports.tabular import report_as_csv
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, SEPTEMBER, settle_constraints
from tests.invoicing.closing.closing import AUGUST_MONTH, SEPTEMBER_MONTH, close, reopen
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.reports.building import OCTOBER, a_quarter, as_of, pay
from tests.invoicing.selling import once, sold

pytestmark = pytest.mark.django_db
LATE = AUGUST + timedelta(days=27)
IN_SEPTEMBER = SEPTEMBER + timedelta(days=12)


def reports_of(day: str) -> dict[str, str]:
    """Every report of a day and the month until it, as it would be downloaded."""
    return {kind.name: report_as_csv(report=kind.answer(question=as_of(day))) for kind in REPORTS}


def test_a_payment_of_a_closed_month_is_booked_as_the_next_one_begins_and_every_report_ties() -> None:
    invoices = a_quarter()
    close(AUGUST_MONTH, at=IN_SEPTEMBER)
    before = reports_of("2026-08-31")

    pay(invoices["cust_kyoto"][0], "1500", at=LATE, reference="T-9")

    entry = JournalEntry.objects.get(reference="manual:T-9")
    assert (entry.occurred_at, entry.booked_at) == (LATE, SEPTEMBER)
    assert entry.is_booked_later
    assert reports_of("2026-08-31") == before
    statement = report_kind(name="statement")
    kyoto = Customer.objects.get(key="cust_kyoto")
    told = [row.cells for row in statement.answer(question=as_of("2026-09-30", customer=kyoto)).sections[0].rows]
    [row] = [cells for cells in told if cells.get("reference") == "T-9"]
    assert str(row["day"]) == "2026-09-01"
    assert str(row["document"]).endswith("(of 2026-08-28, whose month was closed)")
    for day in ("2026-08-27", "2026-08-31", "2026-09-01", "2026-09-30", "2026-10-31"):
        for kind in REPORTS:
            for customer in (None, kyoto):
                report = kind.answer(question=as_of(day, customer=customer))
                assert report.is_tied, (kind.name, day, [tie for tie in report.ties if not tie.holds])
    settle_constraints()
    assert verify() == []


def test_a_credit_note_and_a_void_after_the_close_land_in_the_open_month() -> None:
    invoices = a_quarter()
    workshop = once(invoices["cust_acme"][0].customer, at=AUGUST + timedelta(days=3))
    close(AUGUST_MONTH, at=IN_SEPTEMBER)
    before = reports_of("2026-08-31")

    credited(invoices["cust_acme"][0], of_line(1, amount="5"), at=LATE)
    void_invoice(invoice_id=workshop.pk, at=LATE, actor="ann", reason="it never took place")

    for entry in JournalEntry.objects.filter(kind__in=("credit_note", "reversal")):
        assert (entry.occurred_at, entry.booked_at) == (LATE, SEPTEMBER)
    assert reports_of("2026-08-31") == before
    assert all(kind.answer(question=as_of("2026-09-30")).is_tied for kind in REPORTS)
    settle_constraints()
    assert verify() == []


def test_the_database_refuses_an_entry_booked_in_a_closed_month_or_anywhere_but_where_it_belongs() -> None:
    a_quarter()
    close(AUGUST_MONTH, at=IN_SEPTEMBER)

    for booked in ("2026-08-28", "2026-08-31 23:59:59.999999+00", "2026-10-01"):
        with (
            pytest.raises(IntegrityError, match="the books are open from 2026-09-01"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at, booked_at)"
                " VALUES ('payment', 'x', 'USD', 'x', '2026-08-28', %s)",
                [booked],
            )


ATTACKS = [
    "UPDATE invoicing_books SET open_from = NULL",
    "UPDATE invoicing_books SET open_from = '2026-08-01'",
    "UPDATE invoicing_books SET open_from = open_from + interval '1 month'",
    "DELETE FROM invoicing_books",
    "TRUNCATE invoicing_books",
    "INSERT INTO invoicing_books (id) VALUES (2)",
    "UPDATE invoicing_monthclose SET month = '2026-07-01'",
    "DELETE FROM invoicing_monthclose",
    "TRUNCATE invoicing_monthclose CASCADE",
    "UPDATE invoicing_closedreport SET content = 'forged'",
    "UPDATE invoicing_journalentry SET booked_at = '2026-08-30'",
    # A month that is closed, one that leaves a gap, one that is not over.
    "INSERT INTO invoicing_monthclose (month, closed_at, actor, reason, certificate, digest)"
    " VALUES ('2026-08-01', '2026-11-01', 'eve', 'x', '{}', '')",
    "INSERT INTO invoicing_monthclose (month, closed_at, actor, reason, certificate, digest)"
    " VALUES ('2026-10-01', '2026-11-01', 'eve', 'x', '{}', '')",
    "INSERT INTO invoicing_monthclose (month, closed_at, actor, reason, certificate, digest)"
    " VALUES ('2026-09-01', '2026-09-30', 'eve', 'x', '{}', '')",
    "INSERT INTO invoicing_monthclose (month, closed_at, actor, reason, certificate, digest)"
    " VALUES ('2026-09-15', '2026-11-30', 'eve', 'x', '{}', '')",
]


def test_nobody_opens_or_closes_a_month_by_hand() -> None:
    a_quarter()
    close(AUGUST_MONTH, at=IN_SEPTEMBER)
    settle_constraints()

    for statement in ATTACKS:
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
        assert Books.objects.get().open_from == SEPTEMBER, statement


def test_a_month_that_is_opened_again_takes_what_belongs_to_it_until_it_is_closed_anew() -> None:
    invoices = a_quarter()
    first = close(AUGUST_MONTH, at=IN_SEPTEMBER)
    pay(invoices["cust_kyoto"][0], "1500", at=LATE, reference="T-9")
    reopen(first, at=IN_SEPTEMBER)

    pay(invoices["cust_kyoto"][0], "500", at=LATE, reference="T-10")
    again = close(AUGUST_MONTH, at=IN_SEPTEMBER + timedelta(days=1))

    booked = dict(JournalEntry.objects.filter(kind="payment").values_list("reference", "booked_at"))
    assert (booked["manual:T-9"], booked["manual:T-10"]) == (SEPTEMBER, LATE)
    assert again.certificate["closed_before"] == 1
    assert again.certificate["journal"]["entries"] == first.certificate["journal"]["entries"] + 1
    close(SEPTEMBER_MONTH, at=OCTOBER + timedelta(days=3))
    assert Books.objects.get().open_from == OCTOBER
    settle_constraints()
    assert verify() == []


def test_prepaid_credit_that_is_sold_stands_in_the_month_in_which_its_payment_is_booked() -> None:
    invoices = a_quarter()
    top_up = sold(invoices["cust_acme"][0].customer, at=AUGUST + timedelta(days=3))
    close(AUGUST_MONTH, at=IN_SEPTEMBER)
    before = reports_of("2026-08-31")

    pay(top_up.invoice, str(top_up.amount.amount), at=LATE, reference="T-11")

    assert reports_of("2026-08-31") == before
    assert all(kind.answer(question=as_of("2026-09-30")).is_tied for kind in REPORTS)
    settle_constraints()
    assert verify() == []
