"""What may happen to questions to Stripe Tax: written down before they are asked, and answered once."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from invoicing.core.told_tax import ToldTax, rates_document
from invoicing.tax.inquiries import TaxAnswer, TaxInquiry
from invoicing.tax.stripe_answers import NotReadable, read_answer
from invoicing.tax.stripe_tax import Inquiry

REFUSAL_LENGTH_MAX = 500
# Stripe repeats its answer to a key for a day, a fault too. A calculation has no effect: after a while it is asked by another.
KEY_HOLDS = timedelta(minutes=10)


def begin_inquiry(*, customer_id: int, inquiry: Inquiry, at: datetime, afresh: bool = False) -> TaxInquiry:
    """Write down what Stripe is going to be asked; what was begun just before and not answered goes on with its key, unless it is asked `afresh`."""
    begun = TaxInquiry.objects.filter(
        customer=customer_id,
        question_digest=inquiry.digest,
        day=inquiry.day,
        answer__isnull=True,
        asked_at__gt=at - KEY_HOLDS,
    )
    with transaction.atomic(durable=True):
        known = None if afresh else begun.order_by("id").last()
        return known or TaxInquiry.objects.create(
            customer_id=customer_id,
            day=inquiry.day,
            question=inquiry.document,
            question_digest=inquiry.digest,
            asked_at=at,
        )


def record_answer(*, inquiry: TaxInquiry, stripe_id: str, body: dict[str, Any], at: datetime) -> TaxAnswer:
    """Keep what Stripe answered; what cannot be charged here is kept as a refusal with its reason."""
    try:
        told = _read(stripe_id, body)
    except NotReadable as problem:
        return TaxAnswer.objects.create(
            inquiry=inquiry,
            told_at=at,
            stripe_id=stripe_id,
            refusal=problem.message[:REFUSAL_LENGTH_MAX],
            body=body,
        )
    return TaxAnswer.objects.create(
        inquiry=inquiry,
        told_at=at,
        stripe_id=stripe_id,
        kind=told.kind.value,
        is_registered=told.is_registered,
        rates=rates_document(told=told),
        body=body,
    )


def _read(stripe_id: str, body: dict[str, Any]) -> ToldTax:
    if not stripe_id:
        raise NotReadable("its answer has no id")
    is_live = body.get("livemode")
    if is_live is not None and is_live is not settings.STRIPE_LIVE_MODE:
        raise NotReadable(f"its answer says livemode {str(is_live).lower()}, and our key is of the other mode")
    return read_answer(body=body)


def record_refusal(*, inquiry: TaxInquiry, message: str, field: str, at: datetime) -> TaxAnswer:
    """Keep that Stripe refused a question: `field` names what of the customer's tax data is at fault, "" where nothing of it is."""
    return TaxAnswer.objects.create(
        inquiry=inquiry, told_at=at, refusal=message[:REFUSAL_LENGTH_MAX] or "no reason was given", refused_field=field
    )
