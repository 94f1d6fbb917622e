"""The EC sales list: what was sold by reverse charge within the Union, by VAT id; it ties to the tax report and to what its documents booked."""

from datetime import date
from decimal import Decimal

import pytest
from django.db import connection
from moneyed import Money

from invoicing.reports.asking import Question
from invoicing.reports.catalogue import report_kind
from invoicing.reports.figures import figures_digest
from invoicing.reports.report import Report
from invoicing.reports.tabular import report_as_csv
from invoicing.tax.models import VatIdCheck
from invoicing.tax.operations import add_rate, add_registration
from invoicing.workflows.verify import verify
from invoicing.workflows.void_invoice import void_invoice
from tests.factories import AUGUST, JULY, settle_constraints
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.reports.test_tax_report import JULY_ONLY, a_customer_in, asked
from tests.invoicing.selling import item, once, paid, sold
from tests.invoicing.test_attack_guards import behind_the_triggers
from tests.invoicing.test_taxes import BY, YEAR, germany

pytestmark = pytest.mark.django_db
FRENCH, AUSTRIAN = "FR40303265045", "ATU13585627"
AUGUST_ONLY = asked(date(2026, 8, 1), date(2026, 8, 31))
BOTH = asked(date(2026, 7, 1), date(2026, 8, 31))


def answer(question: Question = JULY_ONLY) -> Report:
    return report_kind(name="ec-sales-list").answer(question=question)


def rows(report: Report) -> list[tuple[object, ...]]:
    """VAT id, country, customer, documents and amount of each row of its one currency, and what has to be mended."""
    [section] = report.sections
    names = ("vat_id", "country", "kind", "customer", "documents", "amount", "mend")
    return [
        tuple(str(one.amount) if isinstance(one := row.cells[name], Money) else one for name in names)
        for row in section.rows
    ]


def test_companies_elsewhere_in_the_union_stand_by_vat_id_and_nobody_else() -> None:
    germany()
    add_registration(jurisdiction="EU", number="EU276000001", valid_from=YEAR, **BY)
    add_rate(jurisdiction="FR", name="VAT", rate=Decimal("0.2"), valid_from=YEAR, **BY)
    company = a_customer_in("FR", "cust_company", vat_id=FRENCH)
    for number, customer in enumerate(
        [
            company,
            company,
            a_customer_in("FR", "cust_branch", vat_id=FRENCH),
            a_customer_in("AT", vat_id=AUSTRIAN),
            a_customer_in("DE", vat_id="DE136695976"),
            a_customer_in("FR"),
            a_customer_in("US"),
        ]
    ):
        once(customer, item("100"), item("50"), key=f"key-{number}")

    report = answer()

    assert rows(report) == [
        (AUSTRIAN, "AT", "S", "AT Inc", 1, "150.00", None),
        (FRENCH, "FR", "S", "FR Inc; FR Inc", 3, "450.00", None),
    ]
    [section] = report.sections
    assert section.totals == {"amount": Money("600.00", "USD")}
    assert [(tie.holds, tie.reported.amount) for tie in section.ties] == [(True, 600), (True, 600)]
    assert f"USD,{AUSTRIAN},,AT,S,AT Inc,1,150.00," in report_as_csv(report=report)
    settle_constraints()
    assert verify() == []


def test_credit_notes_and_what_became_void_count_against_the_span_in_which_they_do() -> None:
    germany()
    french, austrian = a_customer_in("FR", vat_id=FRENCH), a_customer_in("AT", vat_id=AUSTRIAN)
    paid(sold(french, "60").invoice)
    abroad = once(french, item("100"), item("50"), key="kept")
    paid(abroad, str(abroad.amount_due.amount), at=JULY, reference="T-9")
    void = once(austrian, item("70"), key="void")
    credited(abroad, of_line(1, amount="30"), disposition="refund", at=LATER)
    void_invoice(invoice_id=void.pk, at=AUGUST, **BY)

    for question, expected in (
        (JULY_ONLY, {AUSTRIAN: "70.00", FRENCH: "150.00"}),
        (AUGUST_ONLY, {AUSTRIAN: "-70.00", FRENCH: "-30.00"}),
        (BOTH, {AUSTRIAN: "0.00", FRENCH: "120.00"}),
    ):
        report = answer(question)
        assert report.is_tied, [tie for tie in report.ties if not tie.holds]
        assert {row[0]: row[5] for row in rows(report)} == expected
        assert [row[4] for row in rows(report)] == ([1, 2] if question is BOTH else [1, 1])


def test_ids_that_are_missing_wrong_or_unknown_to_the_register_are_mended_first_and_change_no_figure() -> None:
    germany()
    good = a_customer_in("AT", vat_id=AUSTRIAN)
    refused, wrong, none = (
        a_customer_in("FR", key, vat_id=FRENCH) for key in ("cust_refused", "cust_wrong", "cust_none")
    )
    for customer in (good, refused, wrong, none):
        once(customer, item("10"), key=f"key-{customer.key}")
    settle_constraints()
    for customer, number in ((wrong, "FR00303265045"), (none, "")):
        behind_the_triggers(
            f"UPDATE invoicing_invoice SET tax = jsonb_set(tax, '{{customer,number}}', '\"{number}\"')"
            f" WHERE customer_id = {customer.pk}"
        )
    before = figures_digest(report=answer())
    VatIdCheck.objects.create(customer=refused, vat_id=FRENCH, is_valid=False, checked_at=AUGUST)

    report = answer()

    assert [(row[0], row[6]) for row in rows(report)] == [
        (None, "no VAT id of FR Inc is known"),
        ("FR00303265045", rows(report)[1][6]),
        (FRENCH, "the register did not know it on 2026-08-01"),
        (AUSTRIAN, None),
    ]
    assert str(rows(report)[1][6]).startswith("is no VAT id of FR: ")
    assert report.is_tied
    assert figures_digest(report=report) == before, "what a register says later changes no closed month"


def test_what_documents_and_books_say_otherwise_does_not_tie() -> None:
    germany()
    once(a_customer_in("FR", vat_id=FRENCH), item("100"))
    settle_constraints()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE invoicing_posting DISABLE TRIGGER USER")
        cursor.execute("UPDATE invoicing_posting SET amount = amount + sign(amount)")

    assert [(tie.holds, str(tie.difference.amount)) for tie in answer().ties] == [(True, "0.00"), (False, "-1.00")]
    assert ("reports tie", "ec sales list") in {(one.check, one.subject) for one in verify()}


def test_a_span_without_any_is_a_list_of_nothing_that_ties() -> None:
    germany()
    once(a_customer_in("DE"), item("100"))

    report = answer()

    assert (rows(report), report.is_tied) == ([], True)
    assert answer(asked(date(2026, 1, 1), date(2026, 1, 31))).sections == []
