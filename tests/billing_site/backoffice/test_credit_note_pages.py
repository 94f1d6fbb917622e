"""Credit notes in the back office and the portal: shown before they are issued, listed with their reason, paid back, printed."""

import re
from datetime import timedelta
from decimal import Decimal
from io import BytesIO

import pytest
from django.test import Client
from pypdf import PdfReader

from billing_site.display.pills import state_of_invoice
from invoicing.approvals.models import ApprovedDeed
from invoicing.approvals.operations import set_limit
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.portal_links import link_for
from invoicing.customers.queries import customer_by_key
from invoicing.invoices.models import Invoice
from invoicing.payments.refund import Refund
from invoicing.tax.operations import set_customer_tax
from invoicing.workflows.pay_refund import settle_refund
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_per_action, use
from tests.invoicing.crediting import LATER, credited, of_line
from tests.invoicing.selling import item, once, paid
from tests.invoicing.test_taxes import BY, germany

pytestmark = pytest.mark.django_db

NOTES = "/admin/invoicing/creditnote/"


def form_of(page: str, **lines: str) -> dict[str, str]:
    hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    return {name: hidden[name] for name in hidden if name.startswith("lines-") or name == "key"} | lines


def test_a_credit_note_is_shown_first_issued_once_listed_and_paid_back(finance: Client, support: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"), item("7", description="Travel"))
    paid(invoice)
    page = f"/admin/invoicing/invoice/{invoice.pk}/credit/"
    form = form_of(finance.get(page).content.decode()) | {
        "what": "lines",
        "disposition": "refund",
        "reason": "two hours did not take place",
        "lines-0-quantity": "2",
    }

    shown = finance.post(page, form)
    digest = shown.context["shown"].digest
    other = finance.post(page, form | {"lines-0-quantity": "3", "digest": digest})
    nothing_yet = CreditNote.objects.count()
    issued = [finance.post(page, form | {"digest": digest}) for _ in range(2)]

    note = CreditNote.objects.get()
    assert "Issue the credit note over" in text_of(shown) and "20.00 are to be paid back" in text_of(shown)
    assert "30.00" in text_of(other) and nothing_yet == 0
    assert {answer.url for answer in issued} == {f"{NOTES}{note.pk}/change/"}
    assert "two hours did not take place" in text_of(finance.get(NOTES))
    assert "CN-2026-00001" in text_of(finance.get(f"/admin/invoicing/invoice/{invoice.pk}/change/"))
    assert "Refunds to transfer" in text_of(finance.get("/admin/"))
    assert support.get(page).status_code == 403

    refund = Refund.objects.get()
    address = f"{NOTES}{note.pk}/refund/{refund.pk}/"
    assert "Write down the transfer" in text_of(finance.get(f"{NOTES}{note.pk}/change/"))
    assert support.get(address).status_code == 403
    assert "20.00 to be paid back" in text_of(finance.get(NOTES))
    finance.post(address, {"reference": "SEPA 1", "paid_date": f"{note.issued_at.date()}"})
    assert "20.00 paid back" in text_of(finance.get(NOTES))
    assert "To be paid back" not in text_of(finance.get(f"{NOTES}{note.pk}/change/"))
    refund.refresh_from_db()
    assert (refund.status, refund.reference) == ("paid", "SEPA 1")


def test_with_nothing_open_nobody_is_asked_to_leave_nothing_over(finance: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    page = f"/admin/invoicing/invoice/{invoice.pk}/credit/"
    unpaid = text_of(finance.get(page))
    paid(invoice)

    settled = text_of(finance.get(page))

    assert "What becomes of what is more than open" not in unpaid, "nothing can be more than what is open"
    assert "Nothing is left over" not in settled
    assert "Pay it back" in settled


def test_what_credit_notes_alone_took_off_is_called_credited_not_paid(finance: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    page = f"/admin/invoicing/invoice/{invoice.pk}/change/"

    credited(invoice, of_line(1, amount="40"), at=invoice.issued_at)
    in_part = state_of_invoice(Invoice.objects.get(pk=invoice.pk), at=invoice.issued_at)
    credited(invoice, of_line(1, amount="60"), at=invoice.issued_at)
    in_full = state_of_invoice(Invoice.objects.get(pk=invoice.pk), at=invoice.issued_at)

    assert (in_part, in_full) == ("part-credited", "credited in full")
    assert "credited in full" in text_of(finance.get(page))


def test_the_form_says_the_average_price_and_what_counts_towards_the_limit(finance: Client) -> None:
    a_plan("pro", usd_per_action("0.01", free_units="500"))
    a_subscription(a_customer(settlement_channel="manual"))
    use("cust_acme", "2000", at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    limit = {"deed": ApprovedDeed.CREDIT_NOTE, "currency": "USD", "amount": Decimal(10)}
    set_limit(**limit, at=LATER, actor="otto", reason="agreed")
    credited(july, of_line(1, amount="8"))
    page = f"/admin/invoicing/invoice/{july.pk}/credit/"
    asked = finance.get(page)

    shown = finance.post(
        page,
        form_of(asked.content.decode())
        | {"what": "lines", "disposition": "offset", "reason": "x", "lines-0-amount": "2"},
    )

    assert "free units and tiers included (line 1: USD 0.0075 per action)" in text_of(asked)
    assert "two people decide, counted with USD 8.00 that one person credited of it before" in text_of(shown)


def test_what_cannot_be_credited_is_told_at_its_field(finance: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    page = f"/admin/invoicing/invoice/{invoice.pk}/credit/"
    form = form_of(finance.get(page).content.decode()) | {"what": "lines", "disposition": "refund", "reason": "x"}

    too_much = finance.post(page, form | {"lines-0-quantity": "11"})
    nothing = finance.post(page, form)
    either = finance.post(page, form | {"what": "whole", "lines-0-quantity": "1"})

    assert set(too_much.context["lines"].forms[0].errors) == {"quantity"}
    assert set(nothing.context["form"].errors) == {"what"}
    assert either.context["form"].errors["what"] == [
        "Something is entered at line 1: choose the lines below, or clear it."
    ]
    assert CreditNote.objects.count() == 0


def test_the_customer_sees_and_prints_the_credit_note_and_nobody_else_does(finance: Client, client: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    a_customer("cust_other")
    caller = Caller()
    made = caller.post(
        f"/api/v1/invoices/{invoice.number}/credit-notes",
        {"disposition": "offset", "key": "k", "reason": "internal words"},
    ).json()
    address = f"/billing/credit-notes/{made['number']}/pdf"

    refused = client.get(address)
    client.get(link_for(customer_key="cust_acme").partition("/portal/")[2].join(["/portal/", ""]))
    seen = [client.get(f"/portal/invoices/{invoice.number}/"), client.get("/portal/invoices/")]
    printed = client.get(address)
    other = Client()
    other.get(link_for(customer_key="cust_other").partition("/portal/")[2].join(["/portal/", ""]))

    assert refused.status_code == 401
    assert all("CN-2026-00001" in text_of(page) and "internal words" not in text_of(page) for page in seen)
    assert (printed.status_code, printed.content[:5]) == (200, b"%PDF-")
    page = PdfReader(BytesIO(printed.content)).pages[0].extract_text()
    assert "Quantity" in page and "Unit price" not in page
    assert client.get(address, headers={"If-None-Match": printed.headers["ETag"]}).status_code == 304
    assert other.get(address).status_code == 404
    assert finance.get(address).content == caller.get(address).content == printed.content


def test_the_customer_reads_everywhere_that_a_refund_is_still_to_come_and_then_that_it_came(client: Client) -> None:
    invoice = once(a_customer(settlement_channel="manual"), item("10", "10"))
    paid(invoice)
    credited(invoice, disposition="refund", at=LATER)
    client.get(link_for(customer_key="cust_acme").partition("/portal/")[2].join(["/portal/", ""]))

    def told() -> list[str]:
        return [text_of(client.get(page)) for page in (f"/portal/invoices/{invoice.number}/", "/portal/invoices/")]

    assert all("USD 100.00 to be paid back to you" in text for text in told())
    settle_refund(refund_id=Refund.objects.get().pk, channel="manual", reference="T-9", paid_at=LATER, actor="ann")
    assert all("USD 100.00 paid back to you" in text for text in told())


def test_it_is_shown_and_done_over_the_api_and_in_the_back_office(administrator: Client) -> None:
    a_plan()
    germany()
    set_customer_tax(customer=a_customer(settlement_channel="manual"), country="DE", **BY)
    a_subscription(customer_by_key(key="cust_acme"))
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    page = f"/admin/invoicing/invoice/{july.pk}/reissue/"
    assert "Nothing would differ" in administrator.get(page).content.decode()
    use("cust_acme", "500", at=JULY + timedelta(days=4), key="late")
    caller, address = Caller(), f"/api/v1/invoices/{july.number}/reissue"
    assert "Nothing would differ" not in administrator.get(page).content.decode()

    shown = caller.post(address, {"preview": True}).json()
    seen = administrator.get(page)
    missing = caller.post(address, {})
    done = administrator.post(page, {"reason": "late usage", "digest": shown["digest"]})

    assert (shown["difference"]["amount"], missing.status_code) == ("5.95", 422)
    assert "As it would be" in seen.content.decode() and "5.00" in seen.content.decode()
    assert "VAT 19 % (DE) USD 5.51 USD 6.46 USD 0.95" in text_of(seen)
    draft = Invoice.objects.get(status="draft")
    assert done.url == f"/admin/invoicing/invoice/{draft.pk}/change/"
    assert caller.post(address, {"reason": "again"}).status_code == 409
