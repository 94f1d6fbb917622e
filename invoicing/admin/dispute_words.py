"""Disputes in words: how one stands, its story, and what it does to its invoice."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db.models import QuerySet
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.figures import money_text
from billing_site.display.pills import pill
from billing_site.kernel.money import total
from invoicing.core.dispute_life import DisputeStatus
from invoicing.ledger.models import JournalEntry
from invoicing.payments.dispute import DecisionKind, Dispute, MovementKind
from invoicing.workflows.follow_dispute import ENTRY_KINDS

DASHBOARD = "https://dashboard.stripe.com"
DECISION_WORDS = {DecisionKind.ACCEPT.value: "accepted", DecisionKind.UNFREEZE.value: "unfrozen"}
# What of a dispute the timeline of its invoice tells.
ON_THE_INVOICE = (MovementKind.RETURNED.value, MovementKind.LOST.value)


class DisputeMoment(NamedTuple):
    """One thing that happened to a dispute."""

    at: datetime
    word: str
    text: str
    actor: str = ""
    reason: str = ""


def dispute_pill(dispute: Dispute) -> SafeString:
    """Write the status of a dispute as a pill."""
    return pill(dispute.words)


def dashboard_page(dispute: Dispute) -> str:
    """Return where evidence is given at Stripe; "" in the sandbox, which has no pages."""
    if settings.STRIPE_IS_SANDBOX:
        return ""
    test = "/test" if "_test_" in settings.STRIPE_SECRET_KEY else ""
    return f"{DASHBOARD}{test}/disputes/{dispute.stripe_id}"


def story_of(dispute: Dispute) -> list[DisputeMoment]:
    """Return what happened to a dispute, oldest first."""
    told = [_opened(dispute, f"{money_text(dispute.amount)} disputed"), *_moved(dispute, tuple(MovementKind.values))]
    told += [
        DisputeMoment(one.decided_at, DECISION_WORDS[one.kind], one.get_kind_display(), one.actor, one.reason)
        for one in dispute.decisions.all()
    ]
    if dispute.closed_at is not None:
        told.append(DisputeMoment(dispute.closed_at, dispute.words, "Over, as Stripe says"))
    return sorted(told, key=lambda one: one.at)


def dispute_moments(dispute: Dispute) -> list[DisputeMoment]:
    """Return what the timeline of its invoice tells of a dispute."""
    return [
        _opened(dispute, f"{money_text(dispute.amount)} disputed as {dispute}"),
        *_moved(dispute, ON_THE_INVOICE),
    ]


def _opened(dispute: Dispute, text: str) -> DisputeMoment:
    return DisputeMoment(dispute.opened_at, "disputed", f"{text}: {dispute.reason_words}")


def _moved(dispute: Dispute, kinds: Sequence[str]) -> list[DisputeMoment]:
    told = [one for one in sorted(dispute.movements.all(), key=lambda one: one.pk) if one.kind in kinds]
    words = [one.get_kind_display().lower() for one in told]
    return [
        DisputeMoment(one.occurred_at, word, f"{money_text(one.amount)} {word}")
        for one, word in zip(told, words, strict=True)
    ]


def dispute_question(dispute: Dispute, *, is_frozen: bool, held: Money) -> str:
    """Say how a dispute stands and what to do, in a sentence or two."""
    frozen = " Until then its customer is neither served nor charged." if is_frozen else ""
    due = f" by {dispute.evidence_due_at:%Y-%m-%d %H:%M} UTC" if dispute.evidence_due_at else ""
    match dispute.status:
        case DisputeStatus.NEEDS_RESPONSE:
            return f"Give evidence at Stripe{due}, or accept the loss: without an answer it is lost.{frozen}"
        case DisputeStatus.UNDER_REVIEW:
            return f"Evidence is with the bank. It decides, which may take months.{frozen}"
        case DisputeStatus.WARNING_NEEDS_RESPONSE:
            return f"The bank asks before it takes money back: answer at Stripe{due}, or refund the payment."
        case DisputeStatus.WARNING_UNDER_REVIEW:
            return "Answered. An inquiry ends by itself, or becomes a chargeback: nothing to do."
        case DisputeStatus.LOST:
            return "Lost: the money is a loss in the books. The invoice stays paid, and nobody is asked for it again."
        case _ if held.amount:
            return f"Over, and {money_text(held)} are not back from Stripe yet."
        case _:
            return "Over, and nothing is lost: nothing to do."


def disputed_words(disputes: Sequence[Dispute]) -> str:
    """Say of an invoice what disputes have made of its payments; nothing where none is open or lost."""
    opened = [one for one in disputes if one.is_open]
    lost = [one for one in disputes if one.status == DisputeStatus.LOST]
    if opened:
        amount = total((one.amount for one in opened), opened[0].currency)
        states = ", ".join(dict.fromkeys(one.words for one in opened))
        return f"Paid, and {money_text(amount)} of that are disputed: {states}."
    if lost:
        amount = total((one.amount for one in lost), lost[0].currency)
        return f"Paid, then lost in a dispute: {money_text(amount)} are a loss in the books, and nobody is asked for them again."
    return ""


def dispute_entries(disputes: Sequence[Dispute]) -> QuerySet[JournalEntry]:
    """Return the journal entries of what disputes moved."""
    movements = [one for dispute in disputes for one in dispute.movements.all()]
    return JournalEntry.objects.filter(
        kind__in=sorted({ENTRY_KINDS[one.kind].value for one in movements}),
        reference__in=[one.reference for one in movements],
    )
