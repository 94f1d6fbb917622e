"""Corrections as invoices take them: which are open, and the line that carries a part of one."""

from collections.abc import Iterable
from typing import Any

from django.db.models import DecimalField, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from moneyed import Money

from billing_site.kernel.among import among
from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from invoicing.core.contract import CorrectionLine, DecidedAdjustment, DecidedCorrection, OpenCorrection
from invoicing.core.proof import adjusted_again, charge_from_inputs, correction_document, usage_from_document
from invoicing.core.spans import service_text
from invoicing.customers.models import Customer
from invoicing.invoices.models import (
    CorrectionDecision,
    Invoice,
    InvoiceLine,
    InvoiceStatus,
    LineKind,
    UsageCorrection,
)

AMOUNT = DecimalField(max_digits=AMOUNT_DIGITS, decimal_places=AMOUNT_PLACES)


def open_corrections(*, customer: Customer, period: Period) -> list[OpenCorrection]:
    """Return what the customer's invoice for a period may take, oldest first: decided, and on no other invoice.

    What a draft of the same period holds counts as open: it is made again. Corrections of void invoices are not taken.
    """
    own_draft = Q(
        lines__invoice__status=InvoiceStatus.DRAFT,
        lines__invoice__period_start=period.start,
        lines__invoice__period_end=period.end,
    )
    waiting = with_taken(
        corrections=UsageCorrection.objects.filter(customer=customer, currency=customer.currency), besides=own_draft
    )
    rows = waiting.select_related("original__invoice").prefetch_related("original__corrections").order_by("id")
    return [_decided(row) for row in rows]


def customers_with_open_corrections(*, customers: Iterable[Customer]) -> set[int]:
    """Return those of some customers, by id, for whose next invoice `open_corrections` may find something: one query."""
    waiting = with_taken(
        corrections=UsageCorrection.objects.filter(among("customer", [customer.pk for customer in customers])),
        besides=Q(lines__invoice__status=InvoiceStatus.DRAFT),
    )
    return {row.customer_id for row in waiting}


def with_taken(*, corrections: "QuerySet[UsageCorrection]", besides: Q | None = None) -> "QuerySet[UsageCorrection]":
    """Keep the corrections for the next invoice of which a part is on none yet, and add `taken`: what is on some.

    `besides` are lines that do not count; those of void invoices never do.
    """
    counts = ~Q(lines__invoice__status=InvoiceStatus.VOID)
    if besides is not None:
        counts &= ~besides
    taken = Coalesce(
        Sum("lines__amount", filter=counts & Q(lines__isnull=False), output_field=AMOUNT), Value(0), output_field=AMOUNT
    )
    return (
        corrections.filter(decision=CorrectionDecision.NEXT_INVOICE)
        .exclude(original__invoice__status=InvoiceStatus.VOID)
        .annotate(taken=taken)
        .exclude(taken=F("effect"))
    )


def rest_of(*, correction: UsageCorrection) -> Money:
    """Return what of a correction, read by `with_taken`, waits for an invoice."""
    return correction.effect - round_money(correction.taken, correction.currency)  # type: ignore[attr-defined]


def lines_of_corrections(
    *, invoice: Invoice, lines: Iterable[CorrectionLine], first_position: int
) -> list[InvoiceLine]:
    """Return the rows of the lines that carry corrections, unsaved and without digest."""
    by_reference = {line.reference: line for line in lines}
    if not by_reference:
        return []
    rows = UsageCorrection.objects.select_related("original").in_bulk([_number(name) for name in by_reference])
    return [
        InvoiceLine(
            invoice=invoice,
            position=position,
            kind=LineKind.CORRECTION,
            correction=(correction := rows[_number(reference)]),
            subscription_id=correction.original.subscription_id,
            price_id=correction.original.price_id,
            adjustment=correction.original.adjustment,
            tranche_id=correction.original.tranche_id,
            description=line.description,
            meter_key=correction.original.meter_key,
            unit=line.unit,
            quantity=line.quantity,
            currency=correction.currency,
            amount=line.amount,
            service_start=correction.original.service_start,
            service_end=correction.original.service_end,
            window_count=correction.window_count,
            event_count=correction.event_count,
            windows_digest=correction.windows_digest,
            known_through=correction.known_through,
            events_root=correction.events_root,
            rated=correction_document(line=line),
        )
        for position, (reference, line) in enumerate(by_reference.items(), start=first_position)
    ]


def link_before(*, correction: UsageCorrection) -> UsageCorrection | None:
    """Return the link of the chain that the correction starts from, or None where that is the line itself."""
    links = correction.original.corrections.all()
    return next((link for link in links if link.known_through == correction.known_from), None)


def _decided(row: UsageCorrection) -> OpenCorrection:
    original, before = row.original, link_before(correction=row)
    invoice = original.invoice
    assert invoice.number, "only issued lines are corrected"
    known: dict[str, Any] = {
        "reference": f"correction/{row.pk}",
        "invoice_number": invoice.number,
        "position": original.position,
        "line_digest": original.digest,
        "period": service_text(start=original.service_start, end=original.service_end, timezone=invoice.timezone),
        "currency": row.currency,
        "taken": round_money(row.taken, row.currency),  # type: ignore[attr-defined]
    }
    if original.kind == LineKind.ADJUSTMENT:
        return DecidedAdjustment(
            **known,
            before=adjusted_again(inputs=(before or original).rated["inputs"]),
            after=adjusted_again(inputs=row.rated["inputs"]),
        )
    return DecidedCorrection(
        **known,
        charge=charge_from_inputs(original.rated["inputs"]),
        before=usage_from_document((before or original).rated["inputs"]["usage"]),
        after=usage_from_document(row.rated["inputs"]["usage"]),
    )


def _number(reference: str) -> int:
    return int(reference.removeprefix("correction/"))
