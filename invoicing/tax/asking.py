"""What may happen to questions to Stripe Tax: written down before they are asked, and answered once."""

from datetime import datetime
from typing import Any

from django.db import transaction

from invoicing.core.told_tax import rates_document
from invoicing.tax.inquiries import TaxAnswer, TaxInquiry
from invoicing.tax.stripe_answers import NotReadable, read_answer
from invoicing.tax.stripe_tax import Inquiry

REFUSAL_LENGTH_MAX = 500


def begin_inquiry(*, customer_id: int, inquiry: Inquiry, at: datetime) -> TaxInquiry:
    """Write down what Stripe is going to be asked; what was begun before and never answered goes on with its key."""
    begun = TaxInquiry.objects.filter(
        customer=customer_id, question_digest=inquiry.digest, day=inquiry.day, answer__isnull=True
    )
    with transaction.atomic(durable=True):
        return begun.order_by("id").first() or TaxInquiry.objects.create(
            customer_id=customer_id,
            day=inquiry.day,
            question=inquiry.document,
            question_digest=inquiry.digest,
            asked_at=at,
        )


def record_answer(*, inquiry: TaxInquiry, stripe_id: str, body: dict[str, Any], at: datetime) -> TaxAnswer:
    """Keep what Stripe answered; what cannot be charged here is kept as a refusal with its reason."""
    try:
        told = read_answer(body=body)
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


def record_refusal(*, inquiry: TaxInquiry, message: str, field: str, at: datetime) -> TaxAnswer:
    """Keep that Stripe refused a question: `field` names what of the customer's tax data is at fault, "" where nothing of it is."""
    return TaxAnswer.objects.create(
        inquiry=inquiry, told_at=at, refusal=message[:REFUSAL_LENGTH_MAX] or "no reason was given", refused_field=field
    )
