"""Digests over lines and invoices: what was issued can be told from what the tables say today."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from billing_site.kernel.digest import digest_of
from billing_site.kernel.money import plain, wire
from invoicing.core.languages import ENGLISH
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, LineKind, TaxLine, UsageCorrection
from invoicing.invoices.taxes import tax_row_document


def line_digest(*, line: InvoiceLine) -> str:
    """Return the SHA-256 over every column of a line that says what is charged, or corrected, and why."""
    correction: dict[str, Any] = (
        {} if line.kind == LineKind.CHARGE else {"kind": line.kind, "correction": line.correction_id}
    )
    # Named only where it is set: digests of before there were adjustments stay the same.
    if line.adjustment:
        correction["adjustment"] = line.adjustment
    if line.tranche_id is not None:
        correction["tranche"] = line.tranche_id
    if line.credit_grant_id is not None:
        correction["credit_grant"] = line.credit_grant_id
    if line.progressive_id is not None:
        correction["progressive"] = line.progressive_id
    if line.events_root:
        correction["events_root"] = line.events_root
    return digest_of(
        {
            **correction,
            "position": line.position,
            "subscription": line.subscription_id,
            "price": line.price_id,
            "description": line.description,
            "meter": line.meter_key,
            "unit": line.unit,
            "quantity": plain(line.quantity),
            "amount": wire(line.amount),
            "service_start": _time(line.service_start),
            "service_end": _time(line.service_end),
            "window_count": line.window_count,
            "event_count": line.event_count,
            "windows_digest": line.windows_digest,
            "known_through": line.known_through,
            "rated": line.rated,
        }
    )


def correction_digest(*, correction: UsageCorrection) -> str:
    """Return the SHA-256 over every column of a correction; with the digest of the link before it, so over its chain."""
    cause: dict[str, Any] = {} if correction.cause_id is None else {"cause": correction.cause_id}
    if correction.events_root:
        cause["events_root"] = correction.events_root
    return digest_of(
        {
            **cause,
            "original": correction.original_id,
            "customer": correction.customer_id,
            "known_from": correction.known_from,
            "known_through": correction.known_through,
            "quantity_before": plain(correction.quantity_before),
            "quantity_after": plain(correction.quantity_after),
            "window_count": correction.window_count,
            "event_count": correction.event_count,
            "windows_digest": correction.windows_digest,
            "amount_before": wire(correction.amount_before),
            "amount_after": wire(correction.amount_after),
            "effect": wire(correction.effect),
            "decision": correction.decision,
            "rule": correction.rule,
            "actor": correction.actor,
            "reason": correction.reason,
            "decided_at": _time(correction.decided_at),
            "rated": correction.rated,
            "previous": correction.previous_digest,
        }
    )


def invoice_seal(*, invoice: Invoice, line_digests: list[str], taxes: Sequence[TaxLine]) -> str:
    """Return the SHA-256 over the issued document, its lines with their taxes, and the seal before it in the series."""
    assert invoice.issued_at and invoice.due_date and invoice.number, "only an issued invoice is sealed"
    document: dict[str, Any] = {
        "number": invoice.number,
        "customer": invoice.customer_id,
        "currency": invoice.currency,
        "subtotal": wire(invoice.subtotal),
        "total": wire(invoice.total),
        "period_start": _time(invoice.period_start),
        "period_end": _time(invoice.period_end),
        "timezone": invoice.timezone,
        "issued_at": _time(invoice.issued_at),
        "due_date": invoice.due_date.isoformat(),
        "customer_name": invoice.customer_name,
        "customer_email": invoice.customer_email,
        "customer_address": invoice.customer_address,
        "customer_tax_id": invoice.customer_tax_id,
        "seller": invoice.seller,
        "settlement_channel": invoice.settlement_channel,
        "content_digest": invoice.content_digest,
        "lines": line_digests,
        "previous_seal": invoice.previous_seal,
    }
    # Said only where there is one: the seals of before there were roots stay the same.
    if invoice.events_root:
        document["events_root"] = invoice.events_root
    # Said only of what is not of a period: the seals of before there were one-off invoices stay the same.
    if invoice.kind != InvoiceKind.PERIOD:
        document |= {"kind": invoice.kind, "key": invoice.key}
    # Said only where it is another: the seals of before there were languages stay the same.
    if invoice.language != ENGLISH.code:
        document["language"] = invoice.language
    # Named only where there are some: the seals of before customers were billed together stay the same.
    if invoice.accounts:
        document["accounts"] = invoice.accounts
    # Named only where it is set: seals of before there was tax stay the same.
    if invoice.tax is not None:
        assert invoice.tax_amount is not None and invoice.tax_added is not None, "only what is taxed is sealed"
        document["tax"] = {
            "decided": invoice.tax,
            "amount": wire(invoice.tax_amount),
            "added": wire(invoice.tax_added),
            "lines": [{"position": row.line.position, **tax_row_document(row=row)} for row in taxes],
        }
    return digest_of(document)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
