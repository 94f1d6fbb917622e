"""Tax on invoices: decided once, kept with each line, booked as owed, and never a silent zero."""

from collections.abc import Collection
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.core.tax import RateOfTax, TaxKind, TaxParty, TaxTerms, TaxTreatment
from invoicing.core.tax_rules import TaxQuestion
from invoicing.credit_notes.models import CreditNoteTax
from invoicing.credits.models import CreditGrant
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceStatus, TaxLine
from invoicing.ledger.queries import trial_balance
from invoicing.tax.models import SellerTax, TaxRate
from invoicing.tax.operations import (
    add_exemption,
    add_rate,
    add_registration,
    end_dated,
    set_customer_tax,
    set_seller_tax,
)
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.issue_invoice import issue_invoice, refresh_draft
from invoicing.workflows.preview_billing import preview_billing
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.crediting import credited, of_line
from tests.invoicing.late import BILLED_AT, use_late
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem

pytestmark = pytest.mark.django_db

BY = {"actor": "test", "reason": "set up"}
YEAR = date(2026, 1, 1)


def germany(**settings: Any) -> None:
    """The company is in Germany, registered at home, with today's rate."""
    set_seller_tax(**({"valid_from": YEAR, "country": "DE"} | settings), **BY)
    add_registration(jurisdiction="DE", number="DE136695976", valid_from=YEAR, **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.19"), valid_from=YEAR, **BY)


def bill() -> Invoice:
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    return invoice


def figures(invoice: Invoice) -> tuple[str, str, str]:
    tax = "-" if invoice.tax_amount is None else f"{invoice.tax_amount.amount:.2f}"
    return f"{invoice.subtotal.amount:.2f}", tax, f"{invoice.total.amount:.2f}"


def taxes(invoice: Invoice) -> list[tuple[str, str, str]]:
    rows = TaxLine.objects.filter(line__invoice=invoice).order_by("line__position", "ordinal")
    return [(row.line.description, f"{row.taxable.amount:.2f}", f"{row.amount.amount:.2f}") for row in rows]


def books() -> dict[str, str]:
    return {one.account: f"{one.amount.amount:.2f}" for one in trial_balance() if one.amount.amount}


@pytest.fixture
def acme() -> Customer:
    """Owes USD 29.00 a month, and USD 15.00 for July's actions."""
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return customer


@pytest.mark.requirement("S0-119")
@pytest.mark.requirement("S0-011")
def test_each_line_keeps_its_rate_and_tax_and_what_is_owed_to_the_tax_office_is_no_revenue(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    a_coupon()
    redeem(acme)
    expected = preview_billing(as_of=AUGUST).previews[0].total

    invoice = bill()

    assert figures(invoice) == ("35.20", "6.69", "41.89")
    assert invoice.total == expected
    assert taxes(invoice) == [
        ("Base fee", "23.20", "4.41"),
        ("Actions", "12.00", "2.28"),
        ("Discount LAUNCH20", "0.00", "0.00"),
    ]
    assert {f"{row.rate:f} {row.jurisdiction}" for row in TaxLine.objects.all()} == {"0.19000000 DE"}
    assert books() == {"1200": "41.89", "2300": "-6.69", "4000": "-35.20"}
    told = explain_invoice(number=str(invoice.number))
    assert told["equal"] and told["tax"]["equal"]
    assert [line["taxes"][0]["amount"]["amount"] for line in told["lines"]] == ["4.41", "2.28", "0.00"]
    assert verify() == []


@pytest.mark.parametrize("inclusive", [False, True])
def test_tax_goes_back_with_what_is_credited_and_all_of_it_with_all_of_it(acme: Customer, inclusive: bool) -> None:
    germany(prices_include_tax=inclusive)
    set_customer_tax(customer=acme, country="DE", **BY)
    a_coupon()
    redeem(acme)
    invoice = bill()
    owed = invoice.tax_amount
    assert owed is not None
    usage = invoice.lines.exclude(meter_key="").get()

    thirds = [credited(invoice, of_line(usage.position, quantity=usage.quantity / 3)) for _ in range(3)]
    rest = credited(invoice)

    back = [sum(line.tax_amount.amount for line in note.lines.all()) for note in (*thirds, rest)]
    assert sum(back) == owed.amount
    assert sum(row.amount.amount for row in CreditNoteTax.objects.all()) == owed.amount
    assert sum(note.total.amount for note in (*thirds, rest)) == invoice.total.amount
    assert books() == {}
    settle_constraints()
    assert verify() == []
    with pytest.raises(DatabaseError):
        run_sql("UPDATE invoicing_creditnotetax SET amount = 0")


def test_a_reverse_charge_is_credited_as_one(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="FR", vat_id="fr 40 303 265 045", **BY)
    note = credited(bill())

    assert {row.tax.kind for row in CreditNoteTax.objects.all()} == {"reverse_charge"}
    assert sum(line.tax_amount.amount for line in note.lines.all()) == 0
    settle_constraints()
    assert verify() == []


@pytest.mark.requirement("S0-119")
def test_a_later_rate_changes_no_issued_invoice_and_corrections_are_taxed_as_what_they_correct(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    july = bill()
    end_dated(row=TaxRate.objects.get(), valid_to=date(2026, 8, 1), **BY)
    add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.16"), valid_from=date(2026, 8, 1), **BY)
    use_late("1000")
    settle_late_changes(at=BILLED_AT)

    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert figures(july) == ("44.00", "8.36", "52.36")
    rows = TaxLine.objects.filter(line__invoice=august).order_by("line__position")
    assert [(row.line.kind, f"{row.rate:.2f}", f"{row.amount.amount:.2f}") for row in rows] == [
        ("charge", "0.16", "4.64"),
        ("charge", "0.16", "0.00"),
        ("correction", "0.19", "1.90"),
    ]
    assert [one["rate"] for one in (august.tax or {})["summary"]] == ["0.16", "0.19"]
    assert verify() == []


def test_a_company_elsewhere_in_the_union_owes_the_tax_itself_and_the_invoice_says_so(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="FR", vat_id="fr 40 303 265 045", **BY)

    invoice = bill()

    assert figures(invoice) == ("44.00", "0.00", "44.00")
    assert (invoice.tax_state, invoice.customer_tax_id) == ("taxed", "FR40303265045")
    row = TaxLine.objects.first()
    assert row is not None and row.kind == "reverse_charge" and row.reason.startswith("Reverse charge: ")
    assert books() == {"1200": "44.00", "4000": "-44.00"}
    assert verify() == []


def test_an_exemption_holds_while_it_is_valid_and_its_evidence_is_on_the_line(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    add_exemption(
        customer=acme,
        jurisdiction="DE",
        law="Exempt under Art. 151(1)(b) of Directive 2006/112/EC",
        evidence="certificate 7, folder 12",
        valid_from=YEAR,
        valid_to=date(2026, 8, 1),
        **BY,
    )

    july = bill()
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert {(row.kind, row.evidence) for row in TaxLine.objects.filter(line__invoice=july)} == {
        ("exempt", "certificate 7, folder 12")
    }
    assert (figures(july)[1], figures(august)[1]) == ("0.00", "5.51")


def test_prices_that_contain_tax_change_no_total(acme: Customer) -> None:
    germany(prices_include_tax=True)
    set_customer_tax(customer=acme, country="DE", **BY)

    invoice = bill()

    assert figures(invoice) == ("44.00", "7.03", "44.00")
    assert taxes(invoice) == [("Base fee", "24.37", "4.63"), ("Actions", "12.60", "2.40")]
    assert books() == {"1200": "44.00", "2300": "-7.03", "4000": "-36.97"}
    assert verify() == []


def test_rounding_on_each_line_is_the_sum_of_rounded_lines(acme: Customer) -> None:
    germany(rounding="per_line")
    add_rate(jurisdiction="DE", name="Levy", rate=Decimal("0.0005"), valid_from=YEAR, **BY)
    set_customer_tax(customer=acme, country="DE", **BY)

    invoice = bill()

    rows = TaxLine.objects.filter(name="Levy")
    assert [f"{row.amount.amount:.2f}" for row in rows.order_by("line__position")] == ["0.01", "0.01"]
    assert figures(invoice) == ("44.00", "8.38", "52.38")
    assert verify() == []


def test_prepaid_credit_pays_the_tax_too_and_promotional_credit_lowers_it(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    gift, paid = grant(acme, "10"), grant(acme, "100", "prepaid", kind="prepaid", priority=1)

    invoice = bill()

    assert [(line.description, f"{line.amount.amount:.2f}") for line in invoice.lines.order_by("position")][2:] == [
        ("Promotional credit: Welcome", "-10.00"),
        ("Prepaid credit: Prepaid", "-40.46"),
    ]
    assert figures(invoice) == ("-6.46", "6.46", "0.00")
    assert (invoice.status, books()["2110"], books()["2300"]) == ("paid", "-59.54", "-6.46")
    assert sorted(CreditGrant.objects.values_list("pk", flat=True)) == sorted([gift.pk, paid.pk])
    assert explain_invoice(number=str(invoice.number))["equal"]
    assert verify() == []


def test_without_tax_data_a_draft_stays_a_draft_and_is_listed_with_what_is_missing(acme: Customer) -> None:
    germany()

    report = issue_billing(as_of=AUGUST, at=BILLED_AT)
    preview = preview_billing(as_of=AUGUST)

    [draft] = report.invoices
    assert (draft.status, draft.tax_state, figures(draft)) == ("draft", "missing", ("44.00", "-", "44.00"))
    assert ["the country of Acme GmbH" in failure.message for failure in report.failures] == [True]
    assert [failure.message for failure in preview.failures] == [failure.message for failure in report.failures]
    with pytest.raises(Conflict, match="it is not known: the country of Acme GmbH") as refused:
        issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="hurry")
    assert refused.value.code == "tax_data_missing"

    set_customer_tax(customer=acme, country="DE", **BY)
    refresh_draft(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="now known")
    issued = issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="complete")
    assert (issued.status, figures(issued)) == (InvoiceStatus.ISSUED, ("44.00", "8.36", "52.36"))


def test_a_draft_is_outdated_when_its_customers_tax_data_has_changed(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    [draft] = draft_billing(as_of=AUGUST, at=BILLED_AT).invoices

    set_customer_tax(customer=acme, country="US", region="NY", **BY)

    with pytest.raises(Conflict, match=r"outdated: it says USD 52\.36, today it would be USD 44"):
        issue_invoice(invoice_id=draft.pk, at=BILLED_AT, actor="ann", reason="hurry")


def test_who_charges_no_tax_goes_on_as_ever_and_so_do_periods_before_the_settings(acme: Customer) -> None:
    germany(valid_from=date(2026, 8, 1))
    add_rate(jurisdiction="FR", name="VAT", rate=Decimal("0.2"), valid_from=YEAR, **BY)

    july = bill()

    assert (july.tax_state, july.tax, figures(july)) == ("", None, ("44.00", "-", "44.00"))
    assert TaxLine.objects.count() == 0
    assert explain_invoice(number=str(july.number))["tax"] is None
    set_customer_tax(customer=acme, country="DE", **BY)
    use_late("1000")
    settle_late_changes(at=BILLED_AT)
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    rows = TaxLine.objects.filter(line__invoice=august, line__kind="correction")
    assert [(row.kind, row.reason) for row in rows] == [
        ("untaxed", f"Corrects invoice {july.number}, which was issued without tax.")
    ]
    assert figures(august) == ("39.00", "5.51", "44.51")


@pytest.mark.requirement("S0-106")
@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_taxline SET amount = 0",
        "UPDATE invoicing_taxline SET rate = 0.07",
        "DELETE FROM invoicing_taxline",
        "TRUNCATE invoicing_taxline",
        "INSERT INTO invoicing_taxline (line_id, ordinal, kind, jurisdiction, name, rate, inclusive, currency, taxable,"
        " amount, reason, evidence) SELECT id, 9, 'taxed', 'DE', 'VAT', 0.07, false, 'USD', 1, 1, '', ''"
        " FROM invoicing_invoiceline LIMIT 1",
        "UPDATE invoicing_invoice SET tax_amount = 0",
        "UPDATE invoicing_invoice SET tax = '{}'",
        "UPDATE invoicing_taxrate SET rate = 0.07",
        "DELETE FROM invoicing_taxrate",
        "UPDATE invoicing_sellertax SET country = 'FR'",
        "UPDATE invoicing_taxregistration SET number = 'DE1'",
        "INSERT INTO invoicing_taxrate (jurisdiction, name, rate, valid_from) VALUES ('DE', 'VAT', 0.07, '2026-03-01')",
        "UPDATE invoicing_customertax SET country = 'Germany'",
    ],
)
def test_the_tax_of_issued_invoices_and_the_rows_that_it_came_from_are_carved_in_stone(
    acme: Customer, attack: str
) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    bill()
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(attack)


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE invoicing_invoice SET tax_amount = 5, tax_added = 5, total = subtotal + 5",
        "UPDATE invoicing_invoice SET total = subtotal + 1",
        "UPDATE invoicing_invoice SET tax_state = ''",
        "UPDATE invoicing_taxline SET amount = 0; UPDATE invoicing_invoice SET drafted_at = now()",
    ],
)
def test_a_draft_whose_total_is_not_its_lines_and_taxes_is_refused(acme: Customer, attack: str) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    draft_billing(as_of=AUGUST, at=BILLED_AT)
    settle_constraints()

    with pytest.raises(DatabaseError):
        run_sql(attack)
        settle_constraints()


def test_what_a_superuser_rewrites_is_named_by_verify(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", **BY)
    invoice = bill()
    settle_constraints()

    run_sql(
        "SET session_replication_role = replica; UPDATE invoicing_taxline SET amount = amount - 1, rate = 0.07"
        " WHERE ordinal = 1; SET session_replication_role = origin"
    )

    found = {(finding.check, finding.subject) for finding in verify()}
    assert {("taxes hold", f"invoice {invoice.number}"), ("seals hold", f"invoice {invoice.number}")} <= found


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"country": "Germany"}, "country"),
        ({"country": "XX"}, "country"),
        ({"country": "US", "region": "california"}, "region"),
        ({"country": "DE", "vat_id": "DE136695970"}, "vat_id"),
        ({"country": "DE", "vat_id": "FR40303265045"}, "vat_id"),
        ({"country": "CH", "vat_id": "CHE-107.787.577 XX"}, "vat_id"),
        ({"country": "DE", "vat_id": "\x00"}, "vat_id"),
    ],
)
def test_tax_data_is_refused_by_the_name_of_its_field(acme: Customer, fields: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        set_customer_tax(customer=acme, **fields, **BY)

    assert [error.field for error in refused.value.errors] == [field]
    assert not hasattr(Customer.objects.get(pk=acme.pk), "tax")


def test_rates_are_added_once_and_never_overlap(acme: Customer) -> None:
    germany()
    germany()

    assert (SellerTax.objects.count(), TaxRate.objects.count()) == (1, 1)
    with pytest.raises(InvalidFields, match="another holds"):
        add_rate(jurisdiction="DE", name="VAT", rate=Decimal("0.07"), valid_from=date(2026, 5, 1), **BY)
    with pytest.raises(InvalidFields, match="fraction of one"):
        add_rate(jurisdiction="FR", name="VAT", rate=Decimal(20), valid_from=YEAR, **BY)
    with pytest.raises(InvalidFields, match="must not lie before"):
        end_dated(row=TaxRate.objects.get(), valid_to=date(2025, 1, 1), **BY)


def test_tax_in_yen_and_dinars_has_their_decimals() -> None:
    germany()
    for currency, amount, expected in (("JPY", "105", "20"), ("KWD", "0.105", "0.020")):
        fee = {"key": "base", "name": "Base fee", "currency": currency, "model": "flat", "unit_amount": amount}
        a_plan(f"pro_{currency}", fee)
        customer = a_customer(f"cust_{currency}", currency=currency)
        set_customer_tax(customer=customer, country="DE", **BY)
        a_subscription(customer, plan=f"pro_{currency}")

        [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT, customer_key=customer.key).invoices

        assert invoice.tax_amount == Money(expected, currency)


def test_the_printed_invoice_names_each_rate_its_number_and_why_there_is_no_tax(acme: Customer) -> None:
    germany()
    set_customer_tax(customer=acme, country="DE", vat_id="136695976", **BY)
    grant(acme, "10", "prepaid", kind="prepaid")
    domestic = document_of(invoice=bill())
    set_customer_tax(customer=acme, country="FR", vat_id="FR40303265045", **BY)
    [abroad] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert [(row.text, f"{row.amount.amount:.2f}") for row in (*domestic.taxes, *domestic.payments)] == [
        ("VAT 19 % (DE) on USD 44.00", "8.36"),
        ("Prepaid credit: Prepaid", "-10.00"),
    ]
    assert (f"{domestic.subtotal.amount:.2f}", f"{domestic.total.amount:.2f}") == ("44.00", "42.36")
    assert (domestic.seller.tax_id, domestic.customer.tax_id) == ("DE136695976", "DE136695976")
    assert domestic.notes == ()
    assert [note[:16] for note in document_of(invoice=abroad).notes] == ["Reverse charge: "]


def test_a_provider_of_ones_own_decides_and_says_so(acme: Customer, settings: Any) -> None:
    germany()
    settings.TAX_PROVIDER = "tests.invoicing.test_taxes.Island"

    invoice = bill()

    assert figures(invoice) == ("44.00", "0.44", "44.44")
    assert invoice.tax is not None and invoice.tax["provider"] == "island"
    assert verify() == []


class Island:
    """A provider that knows one rate for everybody."""

    name = "island"

    def __init__(self, *, customers: Collection[int]) -> None:
        """Everybody is the same."""

    def answer(self, *, question: TaxQuestion) -> TaxTerms:
        treatment = TaxTreatment(TaxKind.TAXED, (RateOfTax("XI", "Levy", Decimal("0.01")),))
        return TaxTerms(
            self.name,
            question.seller.rounding,
            TaxParty("XI"),
            TaxParty("XI"),
            question.timezone,
            dict.fromkeys(question.days, treatment),
            {},
        )


def test_fees_in_advance_are_taxed_where_they_are_invoiced_and_credit_pays_what_is_left_of_them() -> None:
    germany()
    a_plan("pro", usd_fee("29") | {"in_advance": True}, usd_per_action())
    customer = a_customer()
    set_customer_tax(customer=customer, country="DE", **BY)
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [opening] = issue_billing(as_of=JULY, at=JULY).invoices
    grant(customer, "10")
    grant(customer, "20", "prepaid", kind="prepaid")

    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices

    assert figures(opening) == ("29.00", "5.51", "34.51")
    assert figures(july) == ("14.00", "6.46", "20.46")
    assert (books()["2200"], books()["2300"]) == ("-29.00", "-11.97")
    assert explain_invoice(number=str(july.number))["equal"]
    assert verify() == []
