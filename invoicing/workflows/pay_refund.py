"""Pay a refund back: through Stripe by a job, or by hand, written down by whoever transferred it. Refund and books are one transaction."""

from datetime import datetime

from django.db import transaction

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.text import is_storable
from invoicing.core.posting import postings_for_refund
from invoicing.customers.models import SettlementChannel
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import post_entry
from invoicing.payments.refund import Refund
from invoicing.payments.refunds import attempt_refund, mark_paid

REFERENCE_LENGTH_MAX = 190


def push_refund(*, refund_id: int, at: datetime) -> Refund:
    """Let Stripe pay a refund back, as far as it will go now, and settle it once Stripe says that it has succeeded."""
    remote = attempt_refund(refund_id=refund_id, at=at)
    if remote is not None:
        settle_refund(
            refund_id=refund_id, channel=SettlementChannel.STRIPE, reference=remote.id, paid_at=at, actor="stripe"
        )
    return Refund.objects.get(pk=refund_id)


@transaction.atomic
def settle_refund(*, refund_id: int, channel: str, reference: str, paid_at: datetime, actor: str) -> Refund:
    """Write down that a refund was paid and post it; the same a second time changes nothing.

    Raises InvalidInput for a reference that is none or a moment before the credit note, NotFound, and Conflict where it was paid otherwise, or
    Stripe is paying it.
    """
    if not reference.strip() or len(reference) > REFERENCE_LENGTH_MAX or not is_storable(reference):
        message = f"must have 1 to {REFERENCE_LENGTH_MAX} characters: it keeps a refund from being paid twice"
        raise InvalidInput(message, field="reference")
    refund, is_new = mark_paid(refund_id=refund_id, channel=channel, reference=reference, paid_at=paid_at, actor=actor)
    if not is_new:
        return refund
    if paid_at < refund.note.issued_at:
        raise InvalidInput("must not be before its credit note", field="paid_at")
    post_entry(
        kind=JournalEntry.Kind.REFUND,
        reference=f"{channel}:{reference}",
        postings=postings_for_refund(amount=refund.amount, channel=channel),
        description=f"Refund {reference} of credit note {refund.note.number}"[:300],
        occurred_at=paid_at,
        entity=refund.note.customer.seller_key,
    )
    return refund
