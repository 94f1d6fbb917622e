"""Charges, refunds and withdrawals that Stripe could not take stand on the index, and are tried again by one click for one or for many."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ

from billing_site.kernel.clock import now
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.models import PushIntent
from invoicing.payments.withdrawal import Withdrawal
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice

WHY = "Given up after 11 failures in a row; somebody has to look and send it again."


@pytest.fixture
def failed(db: Any) -> PushIntent:
    """A charge and a withdrawal of one invoice that both failed."""
    an_issued_invoice(a_card_customer())
    push = PushIntent.objects.get()
    Withdrawal.objects.create(
        intent=push, status="failed", last_error=WHY, planned_at=now(), next_attempt_at=now(), failure_count=11
    )
    ChargeAttempt.objects.create(
        invoice=push.invoice,
        reference="retry:1",
        status="failed",
        outcome=WHY,
        planned_at=now(),
        done_at=now(),
        next_attempt_at=now(),
        actor="dunning",
        reason="tried again",
    )
    OrmQ.objects.all().delete()
    return push


@pytest.mark.requirement("S2-013")
@pytest.mark.parametrize("model", ["chargeattempt", "withdrawal"])
def test_what_failed_is_listed_with_its_cause_and_tried_again(
    administrator: Client, failed: PushIntent, model: str
) -> None:
    row = (ChargeAttempt if model == "chargeattempt" else Withdrawal).objects.get()
    address = reverse(f"admin:invoicing_{model}_changelist")
    listed = administrator.get(f"{address}?status__exact=failed").content.decode()

    asked = administrator.post(address, {"action": "retry_selected", "_selected_action": row.pk})
    done = administrator.post(address, {**dict(asked.context["hidden"]), "reason": "Stripe is back"})

    assert WHY in listed and WHY in asked.content.decode()
    assert "280.00" in asked.content.decode()
    assert (done.status_code, OrmQ.objects.count()) == (302, 1)
    row.refresh_from_db()
    assert row.status == "planned"
    again = administrator.post(reverse(f"admin:invoicing_{model}_retry", args=[row.pk]), {"reason": "once more"})
    assert (again.status_code, OrmQ.objects.count()) == (302, 1)


def test_the_index_and_the_page_of_stripe_say_what_failed(administrator: Client, failed: PushIntent) -> None:
    index = administrator.get("/admin/").content.decode()
    status = administrator.get(reverse("admin:invoicing_stripe_status")).content.decode()

    assert "Other calls to Stripe that failed" in index
    assert "charges that failed: 1, withdrawals that failed: 1" in index
    assert "Withdrawals that failed" in status


def test_whoever_may_not_try_again_is_offered_nothing(support: Client, failed: PushIntent) -> None:
    refused = support.post(reverse("admin:invoicing_withdrawal_retry", args=[failed.pk]), {"reason": "mine"})

    assert refused.status_code == 403
    assert Withdrawal.objects.get().status == "failed"
