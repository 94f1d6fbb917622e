"""A customer leaves a card, and pays an invoice, on Stripe's own pages; we hear which card and that it was paid, and never see a number."""

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.test import Client

from billing_site.kernel.clock import now
from billing_site.kernel.errors import Conflict
from billing_site.sandbox.models import SandboxObject
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.customers.portal_links import link_for
from invoicing.payments import breaker, gateway, hurry
from invoicing.payments.hosted_page import page_kept
from invoicing.payments.key_round import KeyRound
from invoicing.payments.models import Payment, PaymentFailure, StripeCustomer
from invoicing.payments.remote import GatewayUnavailable
from invoicing.workflows.customer_standing import standing_of
from invoicing.workflows.leave_card import begin_to_leave_card, follow_card
from tests.factories import a_customer, a_plan, a_subscription
from tests.invoicing.payments.building import (
    a_card_customer,
    an_issued_invoice,
    assert_books_balance,
    assert_paid_once,
    deliver,
    remote_invoices,
    run_queued_jobs,
)
from tests.races import at_once

HERE = {
    "return_url": "http://127.0.0.1:1/portal/card/?session={CHECKOUT_SESSION_ID}",
    "cancel_url": "http://127.0.0.1:1/",
}


def leave(address: str, card: str = "pm_card_visa") -> requests.Response:
    """What the customer does on the page."""
    return requests.post(address, data={"card": card}, timeout=10, allow_redirects=False)


def session_of(answer: requests.Response) -> str:
    return parse_qs(urlsplit(answer.headers["Location"]).query)["session"][0]


def in_portal(customer: Customer) -> Client:
    client = Client()
    client.get(link_for(customer_key=customer.key).partition("8000")[2])
    return client


@pytest.mark.requirement("S1-001")
def test_a_card_that_a_customer_leaves_is_charged_for_the_next_invoice(sandbox, listener):
    customer = a_card_customer(card="")
    page = begin_to_leave_card(customer=customer, **HERE)
    before = leave(page)
    notices = deliver(sandbox, listener)
    run_queued_jobs()

    invoice = an_issued_invoice(Customer.objects.get())
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()

    assert before.status_code == 303
    assert [notice.event_type for notice in notices] == ["checkout.session.completed"]
    assert Customer.objects.get().payment_method.startswith("pm_")
    assert SandboxObject.objects.filter(kind="customer").count() == 1
    assert_paid_once(invoice)


def test_whose_card_stripe_does_not_know_is_asked_for_another_and_is_charged_by_it(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="pm_gone_123"))
    run_queued_jobs()
    customer = invoice.customer
    asked = in_portal(customer).get(f"/portal/invoices/{invoice.number}/").content.decode()

    follow_card(session=session_of(leave(begin_to_leave_card(customer=customer, **HERE))))
    decided = invoice.push.attempts.latest("id")
    run_queued_jobs()
    deliver(sandbox, listener)
    run_queued_jobs()

    assert "We could not charge it to your payment method. Please leave a card" in asked
    assert 'href="/portal/card/">Leave a card</a>' in asked and "nothing you need to do" not in asked
    assert (decided.actor, decided.cause) == ("customer cust_acme", "left another card")
    assert_paid_once(invoice)


def test_the_same_news_twice_and_the_customers_return_change_the_card_once(sandbox, listener):
    customer = a_card_customer(card="")
    session = session_of(leave(begin_to_leave_card(customer=customer, **HERE)))

    told = [follow_card(session=session) for _ in range(2)]
    deliver(sandbox, listener)
    run_queued_jobs()

    assert told[0].endswith("is charged from now on")
    assert told[1] == "stale: its card was adopted already"
    changes = Customer.history.exclude(payment_method="")
    assert [row.history_change_reason for row in changes] == [f"customer cust_acme: left on Stripe's page {session}"]


def test_a_page_that_was_opened_earlier_does_not_bring_its_card_back(sandbox, listener):
    customer = a_card_customer(card="")
    first, second = (begin_to_leave_card(customer=customer, **HERE) for _ in range(2))
    for page, created in ((first, 1_000), (second, 2_000)):
        row = SandboxObject.objects.get(id=page.rpartition("/")[2])
        row.body["created"] = created
        row.save()
    sessions = [session_of(leave(page, card)) for page, card in ((second, "pm_card_amex"), (first, "pm_card_visa"))]

    told = [follow_card(session=session) for session in sessions]

    assert told[1] == "stale: another card was left since"
    kept = SandboxObject.objects.get(id=Customer.objects.get().payment_method)
    assert kept.body["card"]["brand"] == "amex"


def test_a_card_that_was_set_here_since_is_not_taken_back_by_a_page_that_is_opened_again(sandbox):
    customer = a_card_customer(card="")
    session = session_of(leave(begin_to_leave_card(customer=customer, **HERE)))
    follow_card(session=session)
    change_customer(
        customer=Customer.objects.get(), changes={"payment_method": "pm_card_amex"}, actor="otto", reason="by phone"
    )

    page = in_portal(customer).get(f"/portal/card/?session={session}").content.decode()

    assert Customer.objects.get().payment_method == "pm_card_amex"
    assert "Thank you" not in page


def test_a_page_of_somebody_else_is_not_followed_from_the_portal(sandbox):
    other = a_card_customer("cust_other", card="")
    session = session_of(leave(begin_to_leave_card(customer=other, **HERE)))

    page = in_portal(a_card_customer(card="")).get(f"/portal/card/?session={session}").content.decode()

    assert "Thank you" not in page
    assert not Customer.objects.exclude(payment_method="").exists()


def test_nobody_is_charged_by_a_page_on_which_no_card_was_left_or_that_is_somebody_elses(sandbox):
    customer = a_card_customer(card="")
    page = begin_to_leave_card(customer=customer, **HERE)
    refused = leave(page, "pm_card_chargeDeclined")
    stranger = sandbox.post(
        "/v1/checkout/sessions", {"mode": "setup", "customer": sandbox.customer(), "success_url": "http://127.0.0.1:1/"}
    )
    leave(stranger["url"])

    told = [follow_card(session=one) for one in (page.rpartition("/")[2], stranger["id"])]

    assert "declined" in refused.text
    assert told == ["nothing to do: no card was left", "ignored: not a customer of ours"]
    assert Customer.objects.get().payment_method == ""


def test_a_customer_that_two_ask_for_at_once_is_one_customer_at_stripe(sandbox):
    customer = a_card_customer(card="")

    pages = at_once(*[lambda: begin_to_leave_card(customer=customer, **HERE)] * 2)

    refused = [one for one in pages if isinstance(one, BaseException)]
    assert len(refused) < 2
    assert all(isinstance(one, GatewayUnavailable) for one in refused)
    assert StripeCustomer.objects.count() == 1
    assert SandboxObject.objects.filter(kind="customer").count() == 1


def test_who_pays_otherwise_leaves_no_card(transactional_db):
    by_transfer = a_customer("cust_manual", settlement_channel="manual")
    account = a_customer("cust_account", billed_to="cust_manual", settlement_channel="stripe")

    with pytest.raises(Conflict, match="not paid by card"):
        begin_to_leave_card(customer=by_transfer, **HERE)
    with pytest.raises(Conflict, match="billed to another account"):
        begin_to_leave_card(customer=account, **HERE)


@pytest.mark.requirement("S1-042")
def test_where_the_house_asks_for_a_card_first_no_subscription_begins_without_one(sandbox, settings):
    settings.STRIPE_CARD_FIRST = True
    customer = a_card_customer(card="")
    a_plan()
    with pytest.raises(Conflict, match="leaves a card in the portal first"):
        a_subscription(customer)
    by_transfer = a_subscription(a_customer("cust_manual", settlement_channel="manual"))

    follow_card(session=session_of(leave(begin_to_leave_card(customer=customer, **HERE))))

    assert a_subscription(Customer.objects.get(key="cust_acme")).pk
    assert by_transfer.pk


def test_in_the_portal_a_card_is_left_replaced_and_named(sandbox, listener):
    customer = a_card_customer(card="")
    client = in_portal(customer)
    empty = client.get("/portal/card/").content.decode()
    begun = client.get("/portal/card/leave/")
    session = session_of(leave(begun.url))

    back = client.get(f"/portal/card/?session={session}").content.decode()
    run_queued_jobs(mirrors=True)
    named = client.get("/portal/card/").content.decode()

    assert "There is no card" in empty and "Add a card" in empty
    assert begun.status_code == 302
    assert "Thank you" in back and "charged to your card" in back and "Replace the card" in back
    assert "Visa ending in 4242" in named


def test_a_card_mistyped_on_stripes_page_before_the_due_date_makes_nobody_late(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card="", net_terms_days=30))
    run_queued_jobs()
    page = in_portal(invoice.customer).get(f"/portal/invoices/{invoice.number}/pay/").url

    requests.post(page, data={"card": "pm_card_chargeCustomerFail"}, timeout=10)
    deliver(sandbox, listener)
    run_queued_jobs()

    assert PaymentFailure.objects.get().by_customer
    standing = standing_of(customer_key=invoice.customer.key, at=now())
    assert standing is not None and not standing.circumstances.owes


def test_an_open_invoice_is_paid_on_stripes_page_and_booked_once(sandbox, listener):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    client = in_portal(invoice.customer)
    before = client.get(f"/portal/invoices/{invoice.number}/").content.decode()
    page = client.get(f"/portal/invoices/{invoice.number}/pay/").url
    declined = requests.post(page, data={"card": "pm_card_chargeCustomerFail"}, timeout=10).text
    paid = requests.post(page, data={"card": "pm_card_visa"}, timeout=10).text
    again = client.get(f"/portal/invoices/{invoice.number}/pay/")
    deliver(sandbox, listener)
    run_queued_jobs()
    after = client.get(f"/portal/invoices/{invoice.number}/").content.decode()

    assert f"/portal/invoices/{invoice.number}/pay/" in before
    assert "Please pay it here" in before
    assert "was declined" in declined and "Thank you" in paid
    assert (again.status_code, "is paid" in again.content.decode()) == (409, True)
    invoice.refresh_from_db()
    assert (invoice.status, Payment.objects.get().amount) == ("paid", invoice.total)
    assert_books_balance()
    assert "/pay/" not in after


def test_when_stripe_does_not_answer_the_pages_say_so_and_nothing_is_lost(sandbox, settings):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    client = in_portal(invoice.customer)
    settings.STRIPE_API_HOST = "http://127.0.0.1:1"

    pay, leave_card = client.get(f"/portal/invoices/{invoice.number}/pay/"), client.get("/portal/card/leave/")

    assert (pay.status_code, leave_card.status_code) == (503, 503)
    assert "Nothing was charged and nothing is lost" in pay.content.decode()
    assert client.get(f"/portal/invoices/{invoice.number}/").status_code == 200


@pytest.mark.requirement("S1-001")
def test_a_failure_that_stripe_keeps_blocks_neither_the_page_nor_the_card_that_was_left_on_it(sandbox, monkeypatch):
    client, keys, ensure = in_portal(a_card_customer(card="")), [], gateway.ensure_customer

    def kept_at_first(*, idempotency_key, **named):
        keys.append(idempotency_key)
        if len(set(keys)) == 1:
            raise GatewayUnavailable("Stripe cannot answer now.", is_kept=len(keys) > 1)
        return ensure(idempotency_key=idempotency_key, **named)

    # Somebody waits at the page: nothing is sent twice, so that the failure is told, and known to be kept only when it is asked for again.
    sandbox.fault("kept_500", 1)
    refused, page = (client.get("/portal/card/leave/") for _ in range(2))
    session = session_of(leave(page.url))
    monkeypatch.setattr(gateway, "ensure_customer", kept_at_first)
    first, then = (client.get("/portal/card/", {"session": session}) for _ in range(2))

    assert (refused.status_code, page.status_code) == (503, 302)
    assert "It takes a moment" in first.content.decode() and "Thank you" in then.content.decode()
    assert Customer.objects.get().payment_method.startswith("pm_")
    assert keys == [f"card:{session}:0", f"card:{session}:0", f"card:{session}:1"]
    assert list(KeyRound.objects.values_list("number", flat=True)) == [1, 1]
    assert SandboxObject.objects.filter(kind="customer").count() == 1


def test_who_waits_at_a_page_waits_for_seconds_and_is_led_to_the_page_that_was_kept(sandbox, monkeypatch):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    client = in_portal(invoice.customer)
    [remote] = remote_invoices(invoice)
    address = f"/portal/invoices/{invoice.number}/pay/"
    at = now()

    # As if it took longer than anybody waits.
    monkeypatch.setattr(hurry, "SECONDS", 0)
    pay, leave_card = client.get(address), client.get("/portal/card/leave/")

    assert (pay.status_code, pay.url, leave_card.status_code) == (302, remote["hosted_invoice_url"], 503)
    assert page_kept(invoice=invoice, at=at + timedelta(days=26)) == ""
    monkeypatch.setattr(hurry, "SECONDS", 5)
    with hurry.somebody_waits():
        assert 1 <= hurry.seconds_left() <= 5
    breaker.open_by_hand(at=at, actor="ada", reason="Stripe asked us to")
    assert client.get(address).status_code == 503


def test_the_sandbox_shows_the_page_of_an_invoice_where_it_is_asked_now(sandbox, settings):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    [remote] = remote_invoices(invoice)
    headers = {"Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}", "Host": "127.0.0.1:9"}

    shown = requests.get(f"{settings.STRIPE_API_HOST}/v1/invoices/{remote['id']}", headers=headers, timeout=10).json()

    assert shown["hosted_invoice_url"] == f"http://127.0.0.1:9/i/{remote['id']}"


def test_another_customers_invoice_is_not_paid_from_here(sandbox):
    invoice = an_issued_invoice(a_card_customer(card=""))
    run_queued_jobs()
    stranger = in_portal(a_card_customer("cust_other", card=""))

    assert stranger.get(f"/portal/invoices/{invoice.number}/pay/").status_code == 404
