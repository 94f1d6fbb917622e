"""E-invoices: what was issued, as EN 16931 states it, valid against the schemas, the same file inside the PDF."""

import io
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from facturx import parse_ubl_cii_xml, xml_check_xsd
from pypdf import PdfReader

from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import exponent, plain, round_money, total
from invoicing.customers.models import Customer
from invoicing.e_invoices.files import cii_file, ubl_file
from invoicing.e_invoices.statement import EInvoice, VatCategory, e_invoice_of
from invoicing.invoices.document import invoice_page, render_pdf
from invoicing.invoices.models import Invoice
from invoicing.tax.operations import add_rate, add_registration, set_customer_tax, set_seller_tax
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.reissue_invoice import reissue_invoice
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, JULY, SEPTEMBER, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use
from tests.invoicing.late import BILLED_AT, use_late
from tests.invoicing.test_credits import grant
from tests.invoicing.test_discounts import a_coupon, redeem
from tests.invoicing.test_taxes import BY, YEAR, germany

pytestmark = pytest.mark.django_db

COUNTED = {"BT-106", "BT-109", "BT-110", "BT-112", "BT-113", "BT-115"}


def an_invoice(*, country: str = "DE", vat_id: str = "", **terms: Any) -> Invoice:
    """The issued July invoice of a German seller: USD 29.00 and USD 15.00 for actions."""
    germany(**terms)
    a_plan()
    customer = a_customer(email="billing@acme.example")
    set_customer_tax(customer=customer, country=country, vat_id=vat_id, **BY)
    a_subscription(customer)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    return billed(customer)


def billed(customer: Customer) -> Invoice:
    [invoice] = issue_billing(as_of=AUGUST, at=BILLED_AT, customer_key=customer.key).invoices
    return invoice


def assert_states(invoice: Invoice) -> EInvoice:
    """Both files are valid, say the same, hold the rules of EN 16931 about sums, and ask for what the invoice asks."""
    stated = e_invoice_of(invoice=invoice)
    cii, ubl = cii_file(e_invoice=stated), ubl_file(e_invoice=stated)
    assert xml_check_xsd(cii, flavor="factur-x", level="en16931") and xml_check_xsd(ubl, flavor="ubl-2.1")
    assert (cii, ubl) == (cii_file(e_invoice=stated), ubl_file(e_invoice=stated))
    for file in (cii, ubl):
        told = parse_ubl_cii_xml(file)
        assert Decimal(str(told["BT-115"])) == invoice.total.amount
        assert Decimal(str(told["BT-106"])) == sum(Decimal(str(line["BT-131"])) for line in told["BG-25"])
        assert Decimal(str(told["BT-110"])) == sum(Decimal(str(one["BT-117"])) for one in told["BG-23"])
    for line in stated.lines:
        assert line.price >= 0
        off = sum((one.amount.amount for one in line.allowances), Decimal(0))
        assert line.quantity * line.price - off == line.amount.amount, line
    for one in stated.sums:
        of = total((line.amount for line in stated.lines if line.vat == one.vat), stated.currency)
        assert of == one.taxable
        assert one.tax == round_money(one.taxable.amount * one.vat.rate, stated.currency)
    return stated


@pytest.mark.requirement("S0-119")
def test_an_e_invoice_states_each_line_with_what_a_discount_takes_off_it_and_the_sum_of_each_rate() -> None:
    germany()
    a_plan()
    acme = a_customer()
    set_customer_tax(customer=acme, country="DE", **BY)
    a_subscription(acme)
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    a_coupon()
    redeem(acme)

    stated = assert_states(billed(acme))

    assert [
        (line.name, plain(line.quantity), plain(line.price), f"{line.amount.amount:.2f}") for line in stated.lines
    ] == [
        ("Base fee", "1", "29", "23.20"),
        ("Actions", "1500", "0.01", "12.00"),
    ]
    assert [line.allowances[0].reason for line in stated.lines] == ["Discount LAUNCH20"] * 2
    assert [(one.vat.category, f"{one.taxable.amount:.2f}", f"{one.tax.amount:.2f}") for one in stated.sums] == [
        (VatCategory.STANDARD, "35.20", "6.69")
    ]


def test_reverse_charge_says_both_numbers_and_why_and_what_is_outside_the_scope_says_none() -> None:
    abroad = assert_states(an_invoice(country="FR", vat_id="FR40303265045"))
    [told] = abroad.sums
    assert (told.vat.category, told.tax.amount) == (VatCategory.REVERSE_CHARGE, 0)
    cii = cii_file(e_invoice=abroad).decode()
    assert "FR40303265045" in cii and "DE136695976" in cii and "VATEX-EU-AE" in cii and told.vat.reason in cii

    set_customer_tax(customer=Customer.objects.get(), country="US", **BY)
    [invoice] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    outside = assert_states(invoice)
    assert outside.sums[0].vat.category == VatCategory.OUTSIDE_SCOPE
    assert "DE136695976" not in cii_file(e_invoice=outside).decode()


def test_credit_fees_in_advance_and_late_corrections_stand_as_what_they_are() -> None:
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
    use_late("700")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER + timedelta(hours=7)).invoices

    stated = [assert_states(invoice) for invoice in (opening, july, august)]

    assert [f"{one.prepaid.amount:.2f}" for one in stated] == ["0.00", "20.00", "0.00"]
    assert any(line.quantity < 0 for line in stated[1].lines), "what was invoiced before is taken off as a line"


@pytest.mark.parametrize("currency", ["JPY", "KWD", "CLF", "EUR"])
def test_every_currency_has_its_decimals_and_prices_that_contain_vat_are_told_without_it(currency: str) -> None:
    germany(prices_include_tax=True)
    fee = {"key": "base", "currency": currency, "model": "flat", "unit_amount": "1190"}
    a_plan("pro", fee)
    customer = a_customer(currency=currency)
    set_customer_tax(customer=customer, country="DE", **BY)
    a_subscription(customer)

    stated = assert_states(billed(customer))

    assert stated.lines[0].amount.amount == 1000
    assert f"{stated.due.amount:.{exponent(currency)}f}" in cii_file(e_invoice=stated).decode()


def test_the_file_in_the_pdf_is_the_one_that_is_downloaded_and_the_pdf_is_the_same_when_printed_again() -> None:
    invoice = an_invoice()
    pdf, again = (render_pdf(document=document_of(invoice=invoice)) for _ in range(2))
    caller = Caller()

    files = {
        syntax: caller.get(f"/billing/invoices/{invoice.number}/e-invoice?syntax={syntax}") for syntax in ("cii", "ubl")
    }
    refused = caller.get(f"/billing/invoices/{invoice.number}/e-invoice?syntax=edifact")

    assert pdf == again
    reader = PdfReader(io.BytesIO(pdf))
    assert reader.attachments["factur-x.xml"] == [files["cii"].content]
    assert "<Invoice" in files["ubl"].content.decode()
    assert refused.status_code == 422 and refused.json()["errors"][0]["field"] == "syntax"
    metadata = reader.trailer["/Root"]["/Metadata"].get_data().decode()
    for told in ("<pdfaid:part>3", "<fx:ConformanceLevel>EN 16931<", "<fx:DocumentFileName>factur-x.xml<"):
        assert told in metadata
    assert reader.trailer["/Root"]["/AF"][0]["/AFRelationship"] == "/Alternative"


def test_an_invoice_in_the_place_of_a_void_one_names_it_on_paper_and_in_the_file_and_the_void_one_names_it() -> None:
    void = an_invoice()
    done = reissue_invoice(invoice_id=void.pk, at=BILLED_AT, actor="ann", reason="another price")
    assert done.draft is not None
    successor = issue_invoice(invoice_id=done.draft.pk, at=BILLED_AT, actor="ann", reason="looked at")
    void.refresh_from_db()

    new, old = (document_of(invoice=one) for one in (successor, void))
    facts = {fact.label: fact.text for fact in invoice_page(document=new).facts}

    assert void.number is not None and successor.number is not None
    assert new.replaces is not None and new.replaces[0] == void.number and new.replaced_by is None
    assert old.replaced_by is not None and old.replaced_by[0] == successor.number and old.replaces is None
    assert facts["Replaces"].startswith(f"{void.number} of ")
    assert [one.number for one in assert_states(successor).preceding] == [void.number]


def test_a_document_reads_its_lines_once_for_the_page_and_for_the_file_in_it() -> None:
    invoice = an_invoice()

    with CaptureQueriesContext(connection) as asked:
        document_of(invoice=invoice)

    tables = [query["sql"] for query in asked.captured_queries if 'FROM "invoicing_invoiceline"' in query["sql"]]
    assert len(tables) == 1


def test_without_a_word_about_tax_or_with_a_sales_tax_there_is_no_e_invoice_and_the_answer_says_why() -> None:
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    [plain] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    refused = Caller().get(f"/billing/invoices/{plain.number}/e-invoice")
    assert refused.status_code == 409 and "issued without a word about tax" in refused.json()["detail"]
    assert document_of(invoice=plain).e_invoice == ""

    set_seller_tax(valid_from=YEAR, country="US", **BY)
    add_registration(jurisdiction="US-NY", number="NY-1", valid_from=YEAR, **BY)
    add_rate(jurisdiction="US-NY", name="Sales tax", rate=Decimal("0.08"), valid_from=YEAR, **BY)
    set_customer_tax(customer=customer, country="US", region="NY", **BY)
    [taxed] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    with pytest.raises(Conflict, match="does not state invoices by EN 16931"):
        e_invoice_of(invoice=taxed)


def test_a_bank_account_makes_it_a_transfer_and_a_long_address_loses_nothing() -> None:
    stated = e_invoice_of(invoice=an_invoice())
    address = ("Acme GmbH", "Building 7", "Street 1", "10115 Berlin")

    told = replace(stated, bank="IBAN DE02 1203 0000 0000 2020 51", buyer=replace(stated.buyer, address=address))

    for file in (cii_file(e_invoice=told).decode(), ubl_file(e_invoice=told).decode()):
        assert "DE02120300000000202051" in file and "Street 1, 10115 Berlin" in file
