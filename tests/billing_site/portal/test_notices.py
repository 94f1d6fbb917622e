"""What is overdue stands on every page of the portal, with until when and where to pay; notices that were sent can be read again."""

from datetime import date, timedelta

import pytest
from django.test import Client
from moneyed import Money

from billing_site.kernel import clock
from dunning.arrangements.operations import NewInstalment, object_to, promise_to_pay, withdraw_promise
from dunning.cases.models import DunningCase
from dunning.cases.operations import hand_over
from dunning.core.notice_kinds import NoticeKind
from dunning.policies.operations import ensure_presets
from dunning.sweep import sweep_dunning
from invoicing.customers.models import Customer
from invoicing.customers.portal_links import link_for
from invoicing.payments.models import PaymentFailure, PushIntent
from tests.billing_site.portal.conftest import NOW
from tests.billing_site.portal.reading import text_of
from tests.dunning.chasing import by_policy, late_customer, local, pay, turn
from tests.dunning.notices.telling import an_open_invoice, another_invoice, planned, sent
from tests.invoicing.selling import paid

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S2-021")]
PAGES = ("/portal/", "/portal/invoices/", "/portal/credit/", "/portal/alerts/", "/portal/notices/")


def pages(client) -> list[str]:
    return [text_of(client.get(path).content.decode()) for path in PAGES]


def test_what_is_overdue_stands_on_every_page_until_it_is_paid(visit):
    invoice = an_open_invoice()
    client = visit("cust_acme")
    told = f"One invoice is overdue: USD 120.00 {invoice.number} (due 15 July 2026). Open it to see what to do. See how to pay"

    assert all(told in page for page in pages(client))

    paid(invoice, "100", at=NOW)
    assert all("One invoice is overdue: USD 20.00" in page for page in pages(client))
    paid(invoice, "20", reference="the rest", at=NOW)
    assert not any("overdue" in page for page in pages(client))


def test_what_is_objected_to_is_told_beside_both_sums(visit):
    invoice = an_open_invoice()
    object_to(invoice_id=invoice.pk, amount=Money("50", "USD"), at=NOW, actor="fiona", reason="not ours")

    home = pages(visit("cust_acme"))[0]

    assert "One invoice is overdue: USD 70.00" in home and "USD 50.00 that you object to are not in it." in home
    assert "USD 120.00 1 open invoice , 1 overdue USD 50.00 of it you object to" in home.replace(
        "invoice,", "invoice ,"
    )


def test_the_day_of_the_next_step_is_the_one_that_was_told_last(visit):
    invoice = an_open_invoice()
    another_invoice(invoice.customer)
    sent(planned(invoice, reference="one", acts_on=date(2026, 8, 12)), at=NOW)
    sent(planned(invoice, reference="two", acts_on=date(2026, 8, 20)), at=NOW)
    planned(invoice, reference="not sent yet", acts_on=date(2026, 8, 30), at=NOW)

    [page, *_] = pages(visit("cust_acme"))

    assert "2 invoices are overdue: USD 150.00" in page
    assert "Please pay before 20 August 2026. See what is open" in page


def test_whoever_is_restricted_or_suspended_reads_so_until_it_is_paid(monkeypatch):
    invoice = late_customer(timezone="Europe/Berlin")
    customer = invoice.customer
    by_policy("short", customer)
    client = Client()

    def bar(day: str) -> str:
        monkeypatch.setattr(clock, "now", lambda: local(f"{day} 12:00", customer))
        page = client.get(link_for(customer_key=customer.key).partition("8000")[2], follow=True)
        return text_of(page.content.decode()).partition("See how to pay")[0]

    turn(local("2026-08-15 12:00", customer), local("2026-08-21 12:00", customer))
    assert "One invoice is overdue: USD 31.00" in bar("2026-08-21")
    assert "Your service" not in bar("2026-08-21")
    turn(local("2026-08-22 00:00", customer), local("2026-08-22 12:00", customer))
    assert "Your service is restricted until this is paid." in bar("2026-08-22")
    turn(local("2026-08-23 00:00", customer), local("2026-08-23 12:00", customer))
    assert "Your service is suspended until this is paid." in bar("2026-08-23")
    pay(invoice, local("2026-08-23 13:00", customer))
    assert "is overdue" not in bar("2026-08-24") and "Your service" not in bar("2026-08-24")


def test_whoever_was_refused_before_the_due_date_reads_so_in_the_bar_with_what_became_of_the_service(visit, present):
    invoice = late_customer()
    customer = invoice.customer
    by_policy("short", customer)
    refused_at = local("2026-08-03 10:00", customer)
    turn(refused_at, local("2026-08-03 22:00", customer))
    client, noon = visit(customer.key), local("2026-08-10 12:00", customer)
    present(noon)
    assert not any("did not go through" in page for page in pages(client))
    refusal = {"code": "card_declined", "message": "declined", "occurred_at": refused_at}
    PaymentFailure.objects.create(invoice=invoice, reference="ch_1", by_customer=True, **refusal)
    assert not any("did not go through" in page for page in pages(client)), "a card that was mistyped"
    PaymentFailure.objects.create(invoice=invoice, reference="ch_2", **refusal)
    turn(refused_at, noon)

    assert all(
        f"The payment of one invoice did not go through: USD 31.00 Your service is restricted until this is paid. {invoice.number}"
        in page
        for page in pages(client)
    )
    Customer.objects.update(language="de")
    german = (
        "Die Zahlung einer Rechnung ist nicht angekommen: 31,00 USD Ihr Dienst ist eingeschränkt, bis das bezahlt ist."
    )
    assert german in pages(client)[0]
    Customer.objects.update(language="en")
    another_invoice(customer, key="due-in-july")
    both = "2 invoices are overdue, or their payment did not go through: USD 61.00"
    assert both in pages(client)[0]
    present(local("2026-08-16 12:00", customer))
    assert "2 invoices are overdue: USD 61.00" in pages(client)[0]


def test_what_a_debit_is_about_to_pay_is_not_asked_for_in_the_bar(visit):
    invoice = an_open_invoice(settlement_channel="stripe")
    client = visit("cust_acme")
    push = PushIntent.objects.filter(invoice=invoice)
    push.update(status="pushed", stripe_invoice_id="in_1", pushed_at=NOW)
    assert "One invoice is overdue" in pages(client)[0]

    push.update(under_way_since=NOW)
    assert not any("is overdue" in page for page in pages(client))

    push.update(under_way_since=None)
    assert "One invoice is overdue" in pages(client)[0], "it has come back"


def test_what_was_agreed_stands_in_place_of_the_next_step_and_no_day_is_told_once_people_decide(visit):
    invoice = an_open_invoice()
    sent(planned(invoice, reference="one", acts_on=date(2026, 8, 20)), at=NOW)
    ensure_presets()
    sweep_dunning(at=NOW)
    case, who = DunningCase.objects.get(), {"actor": "fiona", "reason": "on the phone"}
    parts = [
        NewInstalment(date(2026, 8, day), Money(amount, "USD")) for day, amount in ((18, "50"), (25, "40"), (31, "30"))
    ]
    promise = promise_to_pay(case_id=case.pk, instalments=parts, at=NOW, **who)
    paid(invoice, "60", at=NOW + timedelta(minutes=1))
    client = visit("cust_acme")

    assert "As agreed: USD 30.00 by 25 August 2026, USD 30.00 by 31 August 2026." in pages(client)[0]
    Customer.objects.update(language="de")
    assert "Wie vereinbart: 30,00 USD bis zum 25. August 2026, 30,00 USD bis zum 31. August 2026." in pages(client)[0]
    Customer.objects.update(language="en")
    withdraw_promise(promise_id=promise.pk, at=NOW + timedelta(minutes=2), **who)
    assert "Please pay before 20 August 2026." in pages(client)[0]
    hand_over(case_id=case.pk, at=NOW + timedelta(minutes=3), **who)
    assert "Please pay before" not in pages(client)[0] and "Open it to see what to do." in pages(client)[0]


def test_a_day_that_is_over_is_not_told_any_more(visit):
    sent(planned(an_open_invoice(), acts_on=date(2026, 8, 11)), at=NOW)

    assert "Please pay before" not in pages(visit("cust_acme"))[0]


def test_an_invoice_that_is_at_stripe_is_paid_there(visit):
    invoice = an_open_invoice(settlement_channel="stripe")
    PushIntent.objects.filter(invoice=invoice).update(status="pushed", stripe_invoice_id="in_1", pushed_at=NOW)

    page = visit("cust_acme").get("/portal/invoices/").content.decode()

    assert f'href="/portal/invoices/{invoice.number}/pay/"' in page
    # One child: between several a button keeps no space.
    assert '<span>Pay <span class="money">USD 120.00</span></span></a>' in page


def test_only_what_was_sent_is_listed_and_only_to_whom_it_was_sent(visit):
    mine, theirs = an_open_invoice(), an_open_invoice("cust_other", name="Other Ltd")
    notice = sent(planned(mine, kind=NoticeKind.REMINDER), at=NOW)
    foreign = sent(planned(theirs, reference="theirs"), at=NOW)
    waiting = planned(mine, reference="not sent yet", at=NOW)
    client = visit("cust_acme")

    listed = text_of(client.get("/portal/notices/").content.decode())
    read = client.get(f"/portal/notices/{notice.pk}/").content.decode()

    assert listed.count("Reminder: USD 120.00 is open, due 15 July 2026") == 1
    assert "Please pay USD 120.00, due on 15 July 2026." in text_of(read)
    assert "Sent to ap@acme.example on 11 August 2026" in text_of(read)
    assert f'<a class="button" href="/portal/invoices/{mine.number}/">Pay USD 120.00</a>' in read
    assert "/portal/enter/" not in read and "http://" not in text_of(read), "the link is a button"
    for other in (foreign, waiting):
        assert client.get(f"/portal/notices/{other.pk}/").status_code == 404


def test_without_notices_the_page_says_what_will_stand_there(visit):
    an_open_invoice()

    page = text_of(visit("cust_acme").get("/portal/notices/").content.decode())

    assert "Nothing yet. What we write to you about your invoices stands here, too." in page


def test_a_german_customer_reads_the_bar_and_its_notices_in_german(visit):
    invoice = an_open_invoice(language="de")
    notice = sent(planned(invoice, kind=NoticeKind.REMINDER, acts_on=date(2026, 8, 20)), at=NOW)
    client = visit("cust_acme")

    page = client.get("/portal/notices/").content.decode()
    assert f"Eine Rechnung ist überfällig: 120,00 USD {invoice.number} (fällig am 15. Juli 2026)." in text_of(page)
    assert "Bitte zahlen Sie vor dem 20. August 2026. Wie Sie zahlen können" in text_of(page)
    assert 'lang="de"' in page and "<h1>Mitteilungen</h1>" in page
    assert "Gesendet an" in text_of(client.get(f"/portal/notices/{notice.pk}/").content.decode())
