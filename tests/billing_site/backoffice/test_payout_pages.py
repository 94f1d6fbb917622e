"""Stripe's payouts in the back office and over HTTP: what each is made of, what waits for people, what lies between Stripe and the books."""

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.bank_queue import bank_queues
from billing_site.kernel.clock import now
from invoicing.admin import payouts as payouts_admin
from invoicing.workflows.verify import verify
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import settle_constraints
from tests.invoicing.bank.statements import Entry, one_line
from tests.invoicing.payments.test_payouts import a_payout, a_transaction, usd

pytestmark = pytest.mark.django_db


def test_a_payout_shows_what_it_is_made_of_and_a_person_says_what_nothing_explains(
    finance: Client, support: Client
) -> None:
    payout = a_payout()
    one = a_transaction(payout=payout, net="49", amount=usd("50"), fee=usd("1"))
    waiting = bank_queues(at=now())[1]
    assert (waiting.name, waiting.count, waiting.why) == ("Stripe's balance to explain", 1, "charge")

    page = finance.get(reverse("admin:invoicing_payout_change", args=[payout.pk])).content.decode()
    assert "1 transaction of it is not explained" in page and "are on no bank statement yet" in page
    where = reverse("admin:invoicing_stripetransaction_explain", args=[one.pk])
    assert support.post(where, {"account": "6210", "reason": "x"}).status_code == 403
    assert "are in no entry of ours" in finance.get(where).content.decode()
    asked = {"account": "1900", "reason": "a shop of another system", "difference": "50.00"}
    told = finance.post(where, asked, follow=True).content.decode()

    assert (
        "are explained, and booked" in told
        and "a shop of another system" in told
        and not bank_queues(at=now())[1].count
    )
    line = one_line(Entry("50.00", "T-po_1"))
    on_line = finance.get(reverse("admin:invoicing_bankline_change", args=[line.pk])).content.decode()
    assert "It is this payout" in on_line
    accepted = {"share": f"payout|{payout.pk}|50.00", "left": "50.000", "reason": "it is"}
    finance.post(reverse("admin:invoicing_bankline_accept", args=[line.pk]), accepted)
    page = finance.get(reverse("admin:invoicing_payout_change", args=[payout.pk])).content.decode()
    assert "It is on the bank statement" in page
    between = finance.get(reverse("admin:invoicing_bank_reconciliation")).content.decode()
    assert "Stripe&#x27;s transactions come to" in between or "Stripe's transactions come to" in between
    for name in ("payout", "stripetransaction"):
        for query in (
            {},
            {"state": "on_way"},
            {"state": "unexplained"},
            {"state": "back"},
            {"q": "po_1"},
            {"currency": "USD"},
        ):
            assert finance.get(reverse(f"admin:invoicing_{name}_changelist"), query, follow=True).status_code == 200
    settle_constraints()
    assert {one.message for one in verify()} == set()


def test_a_payout_of_many_transactions_shows_the_first_and_links_to_all(
    finance: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payouts_admin, "SHOWN_MAX", 2)
    payout = a_payout()
    for number in range(3):
        a_transaction(f"txn_{number}", payout=payout, net="20")
    a_transaction("txn_else", net="20")

    answer = finance.get(reverse("admin:invoicing_payout_change", args=[payout.pk]))
    listed = finance.get(answer.context["all_link"])

    assert len(answer.context["made_of"]) == 2 and "All 3 transactions" in answer.content.decode()
    assert "3 transactions of it are not explained" in answer.content.decode()
    assert listed.status_code == 200 and listed.context["cl"].result_count == 3


def test_a_payout_sums_up_what_it_is_made_of_and_leaves_itself_out(finance: Client) -> None:
    payout = a_payout()
    a_transaction("txn_1", payout=payout, net="30", amount=usd("31"), fee=usd("1"))
    a_transaction("txn_2", payout=payout, net="25", amount=usd("26"), fee=usd("1"))
    a_transaction("txn_3", payout=payout, net="-5", kind="refund")

    answer = finance.get(reverse("admin:invoicing_payout_change", args=[payout.pk]))

    assert [(one.kind, one.count, one.net) for one in answer.context["sums"]] == [
        ("charge", 2, usd("55")),
        ("refund", 1, usd("-5")),
        ("all of it", 3, usd("50")),
    ]
    assert "on the way to the bank" in text_of(answer) and "paid out" not in text_of(answer).partition("Of which")[0]
    assert [one.transaction.stripe_id for one in answer.context["made_of"]] == ["txn_1", "txn_2", "txn_3"]
