"""Disputes in the back office and over the API: what waits, the story of one, and what somebody decides about it."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.dispute_queue import dispute_queue
from billing_site.kernel.clock import now
from invoicing.payments.dispute import Dispute
from invoicing.payments.disputes import is_frozen
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import a_customer, a_plan, a_subscription, settle_constraints, usd_fee
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db


@pytest.fixture
def dispute() -> Dispute:
    """Of USD 60 of the 100 that a customer paid by card, open since yesterday."""
    at = now() - timedelta(days=2)
    customer = a_customer(settlement_channel="stripe", payment_method="pm_1")
    a_plan("pro", usd_fee())
    a_subscription(customer)
    payment = paid_by_card(once(customer, item("10", "10"), at=at), at=at)
    return disputed(payment, "60", opened_at=at + timedelta(days=1))


def page_of(client: Client, name: str, dispute: Dispute, **posted: Any) -> str:
    where = reverse(f"admin:invoicing_dispute_{name}", args=[dispute.pk])
    answer = client.post(where, posted, follow=True) if posted else client.get(where)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def invoice_page(client: Client, dispute: Dispute) -> str:
    where = reverse("admin:invoicing_invoice_change", args=[dispute.payment.invoice_id])
    return client.get(where).content.decode()


@pytest.mark.requirement("S0-047")
def test_an_open_dispute_waits_on_the_index_with_its_day_and_is_seen_wherever_its_customer_is(
    finance: Client, dispute: Dispute
) -> None:
    queue = dispute_queue()
    index = finance.get(reverse("admin:index")).content.decode()
    listed = finance.get(reverse("admin:invoicing_dispute_changelist"), {"state": "freezing"}).content.decode()
    page = page_of(finance, "change", dispute)
    customer = finance.get(reverse("admin:invoicing_customer_change", args=[dispute.payment.customer_id]))

    assert (queue.count, [str(one.amount) for one in queue.money]) == (1, ["60.00"])
    assert queue.why.startswith("1 need an answer, the first by ")
    assert "Disputed payments" in index
    assert dispute.stripe_id in listed
    assert "Give evidence at Stripe by " in page
    assert "Until then its customer is neither served nor charged." in page
    assert all(account in page for account in ("1150 Disputed payments", "6110 Dispute fees"))
    assert "Paid, and USD 60.00 of that are disputed: needs an answer." in invoice_page(finance, dispute)
    assert customer.status_code == 200
    assert "frozen: a payment is disputed" in customer.content.decode()


def test_finance_lets_a_customer_be_served_again_accepts_the_loss_and_says_why(
    finance: Client, dispute: Dispute
) -> None:
    unfrozen = page_of(finance, "unfreeze", dispute, reason="their bank has erred")
    asked = page_of(finance, "accept", dispute)
    accepted = page_of(finance, "accept", dispute, reason="not worth the work")
    changes = finance.get(reverse("admin:backoffice_changes")).content.decode()

    assert not is_frozen(customer_id=dispute.payment.customer_id)
    assert "their bank has erred" in unfrozen
    assert "USD 60.00 of invoice INV-" in asked
    assert "Stripe hears it in a moment" in accepted
    assert "accepted as lost" in changes
    decided(dispute, "lost", at=now())
    dispute.refresh_from_db()
    after = page_of(finance, "change", dispute)
    assert "Lost: the money is a loss in the books." in after
    assert "6100 Dispute losses" in after
    assert "Paid, then lost in a dispute: USD 60.00 are a loss in the books" in invoice_page(finance, dispute)
    assert dispute_queue().count == 0
    settle_constraints()


def test_support_sees_and_decides_nothing(support: Client, dispute: Dispute) -> None:
    assert "Accept the loss" not in page_of(support, "change", dispute)
    for name in ("accept", "unfreeze"):
        where = reverse(f"admin:invoicing_dispute_{name}", args=[dispute.pk])
        assert support.post(where, {"reason": "nice customer"}).status_code == 403


def test_services_list_read_and_decide(dispute: Dispute) -> None:
    caller = Caller()
    path = f"/api/v1/disputes/{dispute.stripe_id}"

    assert sorted(fields_of(caller.post(f"{path}/decision", {"kind": "forgive"}))) == ["kind", "reason"]
    made, again = (
        caller.post(f"{path}/decision", {"kind": "unfreeze", "reason": "their bank has erred"}) for _ in range(2)
    )
    listed = caller.get("/api/v1/disputes?status=needs_response&customer_id=cust_acme").json()["data"]

    assert made.json() == again.json() == caller.get(path).json() == listed[0]
    assert made.json()["amount"] == {"amount": "60.00", "currency": "USD"}
    assert [one["kind"] for one in made.json()["movements"]] == ["withdrawn", "fee"]
    assert caller.get("/api/v1/disputes?status=won").json()["data"] == []
    assert fields_of(caller.get("/api/v1/disputes?status=gone")) == {"status": "invalid_choice"}
    assert caller.get("/api/v1/disputes/dp_x").status_code == 404
    assert Caller("disputes:read").post(f"{path}/decision", {"kind": "accept", "reason": "x"}).status_code == 403
    settle_constraints()
