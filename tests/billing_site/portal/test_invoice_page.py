"""The page of an invoice: how it came about, that it is still true, what happened to it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from moneyed import Money

from billing_site.portal.queries import invoice_page as queries
from billing_site.portal.queries.invoice_page import invoice_page
from billing_site.portal.queries.lines import Check
from invoicing.customers.models import Customer
from invoicing.customers.queries import customer_by_key
from invoicing.entities.operations import change_entity, first_entity
from invoicing.invoices.models import Invoice
from invoicing.payments.operations import record_failure
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from metering.rollup import roll_up
from tests.billing_site.portal.conftest import NOW
from tests.billing_site.portal.reading import text_of
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use
from tests.invoicing.crediting import credited, of_line

pytestmark = pytest.mark.django_db


def the_page(invoice: Invoice) -> queries.InvoicePage:
    return invoice_page(customer=customer_by_key(key="cust_acme"), number=str(invoice.number), at=NOW)


def read(client, invoice: Invoice) -> str:
    return text_of(client.get(f"/portal/invoices/{invoice.number}/").content.decode())


def test_what_credit_notes_alone_took_down_is_not_called_paid(july, visit):
    credited(july, of_line(1), of_line(2), at=NOW)
    client = visit("cust_acme")

    assert f"Invoice {july.number} ✓ credited in full" in read(client, july)
    assert "✓ credited in full" in text_of(client.get("/portal/invoices/").content.decode())
    Customer.objects.update(language="de")
    assert f"Rechnung {july.number} ✓ ganz gutgeschrieben" in read(client, july)


def test_an_invoice_tells_its_lines_tiers_days_and_events(july, visit):
    text = read(visit("cust_acme"), july)

    assert f"Invoice {july.number} ● issued" in text
    assert "USD 64.00 is due on 15 August 2026. Please transfer it and name the invoice number." in text
    assert "Period 1 – 31 July 2026 Due 15 August 2026 Total USD 64.00 Paid USD 0.00 To pay USD 64.00" in text
    assert "First 1,000,000 actions at USD 25.00 per million 1,000,000 × 0.000025 = 25.00" in text
    assert "Next 500,000.5 actions at USD 20.00 per million" in text
    assert "4 July 2026 900,000 actions 5 July 2026 600,000.5 actions" in text
    assert "✓ Counted again from 2 usage events and calculated again just now: equal." in text
    assert "We have just counted all 2 usage events behind this invoice again" in text
    assert "1 August 2026, 07:00 Europe/Berlin Invoice issued USD 64.00" in text
    assert "All days and times are those of Europe/Berlin." in text


def test_the_days_of_a_line_come_to_its_quantity(july):
    [fee, actions] = the_page(july).lines

    assert fee.usage is None and not fee.metered
    assert actions.usage is not None
    assert actions.usage.total == actions.quantity == Decimal("1500000.5")
    assert len(actions.usage.days) == actions.usage.day_count == 31


def test_usage_that_came_after_the_invoice_is_not_in_its_days(july):
    use("cust_acme", "7", at=datetime(2026, 7, 20, tzinfo=UTC))
    roll_up()

    page = the_page(july)

    assert page.lines[1].usage.total == Decimal("1500000.5")
    assert page.lines[1].late == 0
    assert page.check is Check.EQUAL


def test_an_invoice_with_too_many_events_is_calculated_again_but_not_counted(july, visit, monkeypatch):
    monkeypatch.setattr(queries, "EVENTS_COUNTED_MAX", 1)
    use("cust_acme", "7", at=datetime(2026, 7, 20, tzinfo=UTC))
    roll_up()

    page = the_page(july)
    text = read(visit("cust_acme"), july)

    assert (page.check, page.recounted.counted) == (Check.RECALCULATED, 0)
    assert page.lines[1].late == 7
    assert "7 actions of them reached us after this invoice was made and are not part of it." in text
    assert "too many to count again while you wait" in text


def test_an_invoice_is_counted_up_to_the_bound(july, monkeypatch):
    monkeypatch.setattr(queries, "EVENTS_COUNTED_MAX", 2)

    assert the_page(july).check is Check.EQUAL


def test_a_line_that_does_not_agree_is_told_and_not_hidden(july, visit, monkeypatch):
    monkeypatch.setattr("invoicing.workflows.explain_invoice.line_digest", lambda line: "another")

    text = read(visit("cust_acme"), july)

    assert "something does not agree. Please write to us before you pay." in text


def test_a_line_of_an_older_program_says_so(july, visit, monkeypatch):
    monkeypatch.setattr(queries, "ENGINE_VERSION", "2")

    assert the_page(july).check is Check.NOT_POSSIBLE
    assert "earlier version of our program" in read(visit("cust_acme"), july)


def test_payments_and_refusals_stand_in_their_order_in_friendly_words(july, visit):
    record_failure(invoice_id=july.pk, reference="r1", code="insufficient_funds", message="x", occurred_at=NOW)
    record_failure(
        invoice_id=july.pk,
        reference="r2",
        code="stolen_card",
        message="Your card was stolen.",
        occurred_at=NOW + timedelta(hours=2),
    )
    client = visit("cust_acme")
    text = read(client, july)
    assert "11 August 2026, 12:00 Europe/Berlin Charge did not go through: there was not enough money available" in text
    assert "11 August 2026, 14:00 Europe/Berlin Charge did not go through: the bank declined it" in text
    assert "The last charge did not go through: the bank declined it." in text
    assert "stolen" not in text and "insufficient_funds" not in text

    pay(july, "20", NOW + timedelta(hours=3), reference="internal 17")
    text = read(client, july)
    assert "Payment received, bank transfer USD 20.00" in text
    assert "Paid USD 20.00 To pay USD 44.00" in text
    assert "internal 17" not in text and "secret reason" not in text
    assert "USD 44.00 open" in text_of(client.get("/portal/invoices/").content.decode())

    pay(july, "44", NOW + timedelta(hours=4), reference="internal 18")
    text = read(client, july)
    assert "✓ paid" in text and "Paid in full on 11 August 2026. Thank you." in text


def pay(invoice: Invoice, amount: str, at: datetime, *, reference: str) -> None:
    settle_payment(
        invoice_id=invoice.pk,
        channel="manual",
        reference=reference,
        amount=Money(amount, "USD"),
        received_at=at,
        reason="secret reason",
        actor="finance",
    )


def test_bank_details_stand_where_a_transfer_is_owed_and_only_there(acme, visit):
    change_entity(
        entity=first_entity(), changes={"bank": "Example Bank\nIBAN DE00"}, actor="test", reason="a new account"
    )
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    client = visit("cust_acme")

    assert "Pay to Example Bank IBAN DE00" in read(client, july)
    pay(july, "64", NOW, reference="t")
    assert "IBAN" not in read(client, july)


@pytest.mark.parametrize(
    ("payment_method", "sentence"),
    [
        ("pm_card_visa", "We charge your payment method. There is nothing you need to do."),
        ("", "Please transfer it and name the invoice number."),
    ],
)
def test_who_is_charged_is_told_so_only_if_there_is_something_to_charge(visit, present, payment_method, sentence):
    a_plan("pro", usd_fee())
    a_subscription(a_customer(settlement_channel="stripe", payment_method=payment_method), started_at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    assert sentence in read(visit("cust_acme"), july)


def test_an_invoice_over_nothing_asks_for_nothing(visit, present):
    a_plan("free", usd_per_action())
    a_subscription(a_customer(), plan="free", started_at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices

    text = read(visit("cust_acme"), july)

    assert "Nothing was owed. There is nothing you need to do." in text
    assert "Closed: nothing was owed" in text


def test_markup_in_a_customers_name_is_text(visit, present):
    a_plan("pro", usd_fee())
    a_subscription(a_customer(name="<script>alert(1)</script> & Söhne"), started_at=JULY)
    [july] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    client = visit("cust_acme")

    for path in ("/portal/", "/portal/invoices/", f"/portal/invoices/{july.number}/"):
        assert "<script" not in client.get(path).content.decode()
