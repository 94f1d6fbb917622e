"""What a credit note decides of an objection: nothing is taken off twice, once as credited and once as objected to."""

from datetime import datetime

from moneyed import Money

from invoicing.invoices.models import Invoice, InvoiceStatus, Objection


def lower_objection(*, invoice: Invoice, by: Money, at: datetime, actor: str, reason: str) -> None:
    """End the open objection to a locked invoice of which so much was credited just now; what is left of it goes on as one of its own.

    Without it both would be taken off what is open, and what nobody objects to would be neither owed nor chased. An objection never changes:
    its rest is a row that begins where it ends. Nothing where there is none, or where its rest is of what was given up.
    """
    assert by.amount > 0, f"a credit takes something off: {by}"
    objection = Objection.objects.select_for_update().filter(invoice=invoice, ended_at=None).first()
    if objection is None:
        return
    is_issued = invoice.status == InvoiceStatus.ISSUED
    rest = min(objection.amount - by, invoice.amount_due if is_issued else invoice.amount_unpaid)
    if rest.amount > 0 and not is_issued:
        return
    objection.ended_at, objection.ended_by = max(at, objection.opened_at), actor
    objection.ended_because = reason[:300]
    objection.save(update_fields=["ended_at", "ended_by", "ended_because"])
    if rest.amount > 0:
        Objection.objects.create(
            invoice=invoice,
            currency=invoice.currency,
            amount=rest,
            opened_at=objection.ended_at,
            actor=actor,
            reason=f"what is left of it: {objection.reason}"[:300],
        )
