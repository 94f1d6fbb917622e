"""Tell staff at once, by e-mail to whom ALERT_EMAIL names, of what cannot wait for the next look at the back office (S0-047)."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from invoicing.core.dispute_life import CLOSED, FREEZES, NEEDS_ANSWER
from invoicing.invoices.printed_text import money_text
from invoicing.payments.dispute import Dispute

ALERT_JOB = "invoicing.tasks.alert_of_dispute"


def alert_of_dispute(*, dispute_id: int) -> str:
    """Mail how a dispute stands and what to do about it; returns the outcome in words.

    It is sent by a job, at least once; raises what the mail server does, so that the job is tried again.
    """
    dispute = Dispute.objects.select_related("payment__invoice", "payment__customer").get(pk=dispute_id)
    if not settings.ALERT_EMAIL:
        return "nobody is told: ALERT_EMAIL names nobody"
    about = f"{money_text(money=dispute.amount)} of invoice {dispute.invoice}, {dispute.payment.customer}"
    # The name of a customer may hold anything: it ends neither the header nor a line.
    about = " ".join(about.split())
    EmailMessage(
        subject=f"Payment disputed ({dispute.words}): {about}",
        body="\n".join([f"Dispute {dispute}: {about}.", *_what_to_do(dispute), "", _page(dispute), ""]),
        to=settings.ALERT_EMAIL,
    ).send()
    return f"told {len(settings.ALERT_EMAIL)}"


def _what_to_do(dispute: Dispute) -> list[str]:
    told = [f"The cardholder says: {dispute.reason_words}. It is {dispute.words}."]
    if dispute.status in NEEDS_ANSWER:
        due = f" until {dispute.evidence_due_at:%Y-%m-%d %H:%M} UTC" if dispute.evidence_due_at else ""
        told.append(f"Stripe takes evidence{due}; without an answer it is lost.")
    if dispute.status in FREEZES:
        told.append("Its customer is neither served nor charged until the bank has decided, or somebody lifts that.")
    if dispute.status in CLOSED:
        told.append("There is nothing to do any more.")
    return told


def _page(dispute: Dispute) -> str:
    return settings.PUBLIC_URL.rstrip("/") + reverse("admin:invoicing_dispute_change", args=[dispute.pk])
