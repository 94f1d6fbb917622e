"""Staff hear at once of a payment that is disputed."""

from typing import Any

import pytest
from django.core.mail import EmailMessage

from invoicing.invoices.models import Invoice
from invoicing.workflows.alert_staff import ALERT_JOB, alert_of_dispute
from tests.factories import a_customer
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.payments.building import queued_jobs
from tests.invoicing.selling import item, once

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-047")]


@pytest.fixture
def workshop() -> Invoice:
    """Over USD 100."""
    return once(
        a_customer(name="Acme\nSubject: gift", settlement_channel="stripe", payment_method="pm_1"), item("10", "10")
    )


def alerts() -> list[tuple[int, ...]]:
    return [arguments for job, arguments in queued_jobs() if job == ALERT_JOB]


def test_finance_is_mailed_what_is_disputed_and_until_when_to_answer(
    workshop: Invoice, settings: Any, mailoutbox: list[EmailMessage]
) -> None:
    settings.ALERT_EMAIL = ["finance@example.com", "cfo@example.com"]
    settings.PUBLIC_URL = "https://billing.example.com/"
    dispute = disputed(paid_by_card(workshop))

    assert alert_of_dispute(dispute_id=dispute.pk) == "told 2"

    (mail,) = mailoutbox
    assert mail.to == ["finance@example.com", "cfo@example.com"]
    assert (
        mail.subject
        == f"Payment disputed (needs an answer): USD 100.00 of invoice {workshop.number}, Acme Subject: gift"
    )
    assert "Stripe takes evidence until 2026-08-11 00:00 UTC; without an answer it is lost." in mail.body
    assert "neither served nor charged" in mail.body
    assert f"https://billing.example.com/admin/invoicing/dispute/{dispute.pk}/change/" in mail.body


def test_a_dispute_is_told_once_when_it_is_new_and_again_when_an_inquiry_becomes_a_chargeback(
    workshop: Invoice,
) -> None:
    payment = paid_by_card(workshop)

    inquiry = disputed(payment, "40", "warning_needs_response")
    disputed(payment, "40", "warning_needs_response")
    assert len(alerts()) == 1

    disputed(payment, "40", "needs_response")
    decided(inquiry, "lost")
    assert len(alerts()) == 2


def test_where_nobody_is_named_nobody_is_mailed(workshop: Invoice, mailoutbox: list[EmailMessage]) -> None:
    dispute = disputed(paid_by_card(workshop))

    assert alert_of_dispute(dispute_id=dispute.pk) == "nobody is told: ALERT_EMAIL names nobody"
    assert mailoutbox == []
