"""What was sold and taxed in a span, by registration, place, rate and treatment; it ties to the account of tax and to what was invoiced."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from moneyed import Money

from invoicing.customers.models import Customer
from invoicing.reports.asking import Question
from invoicing.reports.catalogue import report_kind
from invoicing.reports.report import Report
from invoicing.tax.operations import add_exemption, add_rate, add_registration, set_customer_tax
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.selling import item, once, paid, sold
from tests.invoicing.test_taxes import BY, YEAR, germany

pytestmark = pytest.mark.django_db

A_MONTH = timedelta(days=31)


def asked(start: date, end: date, currency: str = "") -> Question:
    return Question(as_of=end, start=start, end=end, currency=currency)


JULY_ONLY = asked(date(2026, 7, 1), date(2026, 7, 31))


def answer(question: Question = JULY_ONLY) -> Report:
    report = report_kind(name="tax").answer(question=question)
    assert report.is_tied, [tie for tie in report.ties if not tie.holds]
    return report


def rows(report: Report) -> list[tuple[object, ...]]:
    """Registration, place, treatment, rate, documents, net, tax and gross of each row of its one currency."""
    [section] = report.sections
    names = ("registration", "jurisdiction", "treatment", "rate", "documents", "net", "tax", "gross")
    return [
        tuple(str(one.amount) if isinstance(one := row.cells[name], Money) else one for name in names)
        for row in section.rows
    ]


def totals(report: Report) -> tuple[str, ...]:
    [section] = report.sections
    return tuple(str(section.totals[name].amount) for name in ("net", "tax", "gross"))


def a_customer_in(country: str, key: str = "", **tax: str) -> Customer:
    customer = a_customer(key or f"cust_{country.lower()}", name=f"{country} Inc")
    set_customer_tax(customer=customer, country=country, **tax, **BY)
    return customer


@pytest.mark.requirement("S0-119")
def test_each_treatment_stands_under_the_registration_by_which_it_is_declared() -> None:
    germany()
    add_registration(jurisdiction="EU", number="EU276000001", valid_from=YEAR, **BY)
    add_rate(jurisdiction="FR", name="VAT", rate=Decimal("0.2"), valid_from=YEAR, **BY)
    school = a_customer_in("DE", "cust_school")
    add_exemption(customer=school, jurisdiction="DE", law="School", evidence="certificate 7", valid_from=YEAR, **BY)
    for number, customer in enumerate(
        [
            a_customer_in("DE"),
            a_customer_in("FR"),
            a_customer_in("FR", "cust_company", vat_id="FR40303265045"),
            a_customer_in("US"),
            school,
        ]
    ):
        once(customer, item("100"), item("50"), key=f"key-{number}")
    sold(a_customer("cust_prepays"), "30")

    report = answer()

    assert rows(report) == [
        ("DE136695976", "DE", "Taxed", "VAT 19 %", 1, "150.00", "28.50", "178.50"),
        ("DE136695976", "FR", "Reverse charge", None, 1, "150.00", "0.00", "150.00"),
        ("DE136695976", "DE", "Exempt", None, 1, "150.00", "0.00", "150.00"),
        ("DE136695976", "DE", "Outside scope", None, 1, "30.00", "0.00", "30.00"),
        ("DE136695976", "US", "Outside scope", None, 1, "150.00", "0.00", "150.00"),
        ("EU276000001", "FR", "Taxed", "VAT 20 %", 1, "150.00", "30.00", "180.00"),
    ]
    assert totals(report) == ("780.00", "58.50", "838.50")
    assert [row.cells["reason"] for row in report.sections[0].rows] == [
        None,
        None,
        "School",
        "Prepaid credit is not taxed when it is sold",
        "Not subject to VAT",
        None,
    ]
    settle_constraints()
    assert verify() == []


def test_what_becomes_void_counts_against_the_span_in_which_it_does() -> None:
    germany()
    invoice = once(a_customer_in("DE"), item("100"))
    void_invoice(invoice_id=invoice.pk, at=JULY + A_MONTH, actor="test", reason="agreed otherwise")

    in_july, in_august = answer(), answer(asked(date(2026, 8, 1), date(2026, 8, 31)))

    assert totals(in_july) == ("100.00", "19.00", "119.00")
    assert totals(in_august) == ("-100.00", "-19.00", "-119.00")
    assert totals(answer(asked(date(2026, 7, 1), date(2026, 8, 31)))) == ("0.00", "0.00", "0.00")


def test_a_credit_note_counts_against_the_treatment_of_what_it_credits() -> None:
    before = once(a_customer("cust_before", settlement_channel="manual"), item("10"), key="before", at=JULY - A_MONTH)
    germany(valid_from=date(2026, 7, 1))
    abroad = once(a_customer_in("FR", vat_id="FR40303265045"), item("100"))
    paid(abroad, at=JULY)
    credited(abroad, of_line(1, amount="30"), disposition="refund")
    credited(before, of_line(1, amount="4"))

    assert rows(answer(asked(date(2026, 8, 1), date(2026, 8, 31)))) == [
        (None, None, "No tax is charged", None, 1, "-4.00", "0.00", "-4.00"),
        ("DE136695976", "FR", "Reverse charge", None, 1, "-30.00", "0.00", "-30.00"),
    ]


def test_two_taxes_of_one_line_count_what_they_are_owed_of_once() -> None:
    germany(country="CA")
    for place, name, rate in (("CA", "GST", "0.05"), ("CA-QC", "QST", "0.09975")):
        add_registration(jurisdiction=place, number="1234", valid_from=YEAR, **BY)
        add_rate(jurisdiction=place, name=name, rate=Decimal(rate), valid_from=YEAR, **BY)

    once(a_customer_in("CA", region="QC"), item("100"))

    report = answer()
    assert [row[:4] for row in rows(report)] == [
        ("CA 1234", "CA", "Taxed", "GST 5 %"),
        ("CA-QC 1234", "CA-QC", "Taxed", "QST 9.975 %"),
    ]
    assert totals(report) == ("100.00", "14.98", "114.98")


def test_contained_tax_discounts_prepaid_credit_and_what_was_never_taxed_tie_too() -> None:
    a_plan("flat", usd_fee("100"))
    before, customer = a_customer("cust_before"), a_customer_in("DE")
    once(before, item("10"), key="before", at=JULY - A_MONTH)
    germany(valid_from=date(2026, 7, 1), prices_include_tax=True)
    paid(sold(customer, "60").invoice)
    a_subscription(customer, plan="flat", started_at=JULY)
    once(a_customer_in("DE", "cust_zero"), item("0"), key="nothing")
    issue_billing(as_of=AUGUST, at=AUGUST)

    assert rows(answer(asked(date(2026, 5, 1), date(2026, 6, 30)))) == [
        (None, None, "No tax is charged", None, 1, "10.00", "0.00", "10.00")
    ]
    august = answer(asked(date(2026, 8, 1), date(2026, 8, 1)))
    assert totals(august) == ("84.03", "15.97", "100.00")
    assert [tie.reported for tie in august.ties] == [Money("15.97", "USD"), Money("40.00", "USD")]


def test_tax_in_the_books_that_no_document_says_does_not_tie() -> None:
    germany()
    once(a_customer_in("DE"), item("100"), at=datetime(2026, 7, 10, tzinfo=UTC))
    settle_constraints()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE invoicing_taxline DISABLE TRIGGER USER")
        cursor.execute("UPDATE invoicing_taxline SET amount = amount - 1")

    report = report_kind(name="tax").answer(question=JULY_ONLY)

    assert [(tie.holds, str(tie.difference.amount)) for tie in report.ties] == [(False, "-1.00"), (False, "-1.00")]
    assert ("reports tie", "tax") in {(one.check, one.subject) for one in verify()}
