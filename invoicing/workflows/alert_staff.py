"""Tell staff at once, by e-mail to whom ALERT_EMAIL names, of what cannot wait for the next look at the back office (S0-047, S2-032)."""

from django.conf import settings
from django.core.mail import EmailMessage
from django.urls import reverse

from invoicing.core.dispute_life import CLOSED, FREEZES, NEEDS_ANSWER
from invoicing.invoices.printed_text import money_text
from invoicing.payments.dispute import Dispute
from invoicing.payments.outage import Outage
from invoicing.payments.waiting import what_waits
from invoicing.stripe_subscriptions.models import SubscriptionMismatch

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


def alert_of_mismatch(*, mismatch_id: int) -> str:
    """Mail how a subscription contradicts the one at Stripe, and what to do about it; returns the outcome in words. Sent at least once (S1-051)."""
    rows = SubscriptionMismatch.objects.select_related("link__subscription__customer")
    mismatch = rows.get(pk=mismatch_id)
    if not settings.ALERT_EMAIL:
        return "nobody is told: ALERT_EMAIL names nobody"
    subscription = mismatch.link.subscription
    about = " ".join(f"{subscription} of {subscription.customer}".split())
    page = reverse("admin:invoicing_subscriptionmismatch_change", args=[mismatch.pk])
    EmailMessage(
        subject=f"Subscription is otherwise at Stripe: {about}",
        body="\n".join(
            [f"{about}, {mismatch.link} at Stripe.", mismatch.message, "", settings.PUBLIC_URL.rstrip("/") + page, ""]
        ),
        to=settings.ALERT_EMAIL,
    ).send()
    return f"told {len(settings.ALERT_EMAIL)}"


def alert_of_outage(*, outage_id: int, is_over: bool) -> str:
    """Mail that Stripe is not called any more, or (`is_over`) is again, with what waits; returns the outcome in words. Sent at least once."""
    outage = Outage.objects.get(pk=outage_id)
    if not settings.ALERT_EMAIL:
        return "nobody is told: ALERT_EMAIL names nobody"
    began = f"{outage.opened_at:%Y-%m-%d %H:%M} UTC"
    if not is_over:
        subject = "Stripe is not called: what is to be collected waits"
        told = [f"Since {began}, by {outage.opened_by}: {outage.cause}", _what_ends(outage)]
    else:
        assert outage.closed_at is not None, "its end is told once it has ended"
        subject = "Stripe is called again: what has waited is being sent"
        told = [f"Since {outage.closed_at:%Y-%m-%d %H:%M} UTC, by {outage.closed_by}: {outage.closed_reason}"]
        told.append(f"It was not called since {began}: {outage.cause}")
    told += [
        f"{one.what}: {one.count} {', '.join(money_text(money=amount) for amount in one.money)}".rstrip()
        for one in what_waits()
        if one.count
    ]
    page = settings.PUBLIC_URL.rstrip("/") + reverse("admin:invoicing_stripe_status")
    EmailMessage(subject=subject, body="\n".join([*told, "", page, ""]), to=settings.ALERT_EMAIL).send()
    return f"told {len(settings.ALERT_EMAIL)}"


def _what_ends(outage: Outage) -> str:
    if outage.is_by_hand:
        return (
            "It lasts until somebody ends it on the page below. Nothing is lost meanwhile, and nobody is charged twice."
        )
    return "It ends by itself as soon as Stripe answers. Nothing is lost meanwhile, and nobody is charged twice."


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
