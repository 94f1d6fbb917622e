"""Void and re-issue: an unpaid invoice of a period is declared void and its period drafted again from what is known now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q
from moneyed import Money

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict
from billing_site.kernel.money import from_minor_units
from billing_site.kernel.period import Period, as_utc
from billing_site.kernel.reasons import checked_reason
from invoicing.approvals.models import Approval
from invoicing.core.assembly import AssembledInvoice
from invoicing.credit_notes.models import CreditNote
from invoicing.invoices.drafting import save_draft
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus
from invoicing.invoices.operations import locked_invoice
from invoicing.invoices.queries import OWED
from invoicing.subscriptions.agreements import IN_ADVANCE
from invoicing.subscriptions.snapshot import periods_due
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.line_effects import LineEffect, line_effects
from invoicing.workflows.void_invoice import check_void_approved, reverse_invoice
from metering.rollup import roll_up


@dataclass(frozen=True)
class StoredLine:
    """A line of the issued invoice, as it is compared."""

    reference: str
    description: str
    amount: Money


@dataclass(frozen=True)
class Reissue:
    """What voiding an invoice and drafting its period again does: the invoice, and what stands in its place (None: nothing is due any more)."""

    invoice: Invoice
    lines_before: tuple[StoredLine, ...]
    after: AssembledInvoice | None
    draft: Invoice | None = None

    @property
    def total_after(self) -> Money:
        """What the period comes to from what is known now."""
        return from_minor_units(0, self.invoice.currency) if self.after is None else self.after.total

    @property
    def difference(self) -> Money:
        """How much more the customer would owe; negative where it is less."""
        return self.total_after - self.invoice.total

    @property
    def lines(self) -> tuple[LineEffect, ...]:
        """Each line as it was issued and as it would be."""
        return line_effects(before=self.lines_before, after=() if self.after is None else self.after.document_lines)

    @property
    def digest(self) -> str:
        """A digest of what was shown: what is done by it is what somebody saw."""
        after = None if self.after is None else self.after.digest
        return digest_of({"void": self.invoice.seal, "after": after})


def preview_reissue(*, invoice_id: int, at: datetime) -> Reissue:
    """Declare an invoice void, compute its period again, and take it back; raises what doing it would raise."""
    roll_up()
    with transaction.atomic():
        shown, _ = _voided(invoice_id, at=at, actor="preview", reason="preview")
        transaction.set_rollback(True)
    shown.invoice.refresh_from_db()
    return shown


def reissue_invoice(*, invoice_id: int, at: datetime, actor: str, reason: str, digest: str = "") -> Reissue:
    """Declare an unpaid invoice of a period void and draft its period again, to be issued like any draft.

    The journal entry of the issue is reversed, credit that it drew is given back, what it carried of corrections is open again, Stripe's copy is
    withdrawn; the number stays. Raises Conflict for one that is paid, credited or void, for a one-off invoice, where a later issued invoice builds on it
    (code `built_on`), and where it would do something else than a preview with this `digest` has shown (code `outdated`);
    NeedsApproval from the limit of its currency on (`ask_to_void.py`).
    """
    roll_up()
    return reissue_from_windows(invoice_id=invoice_id, at=at, actor=actor, reason=reason, digest=digest)


@transaction.atomic
def reissue_from_windows(
    *, invoice_id: int, at: datetime, actor: str, reason: str, digest: str = "", approval: Approval | None = None
) -> Reissue:
    """Do what `reissue_invoice` does, from the usage that is in the windows already: for whoever holds locks, and must not wait for events."""
    checked_reason(reason=reason)
    done, computed = _voided(invoice_id, at=at, actor=actor, reason=reason)
    if digest and digest != done.digest:
        raise Conflict("it would be something else by now: look at the preview again", code="outdated")
    check_void_approved(invoice=done.invoice, approval=approval)
    if computed is None:
        return done
    draft = save_draft(
        customer=done.invoice.customer,
        assembled=computed.assembled,
        sources=computed.contract.sources,
        run=None,
        at=at,
        actor=actor,
        reason=f"in place of {done.invoice.number}: {reason}"[:300],
    )
    return Reissue(done.invoice, done.lines_before, done.after, draft)


def _voided(invoice_id: int, *, at: datetime, actor: str, reason: str) -> tuple[Reissue, ComputedInvoice | None]:
    invoice = locked_invoice(invoice_id=invoice_id)
    if invoice.status != InvoiceStatus.ISSUED:
        hint = "; give back what was charged by a credit note" if invoice.status == InvoiceStatus.PAID else ""
        raise Conflict(f"invoice {invoice} is {invoice.status}: only an unpaid one is made again{hint}", field="status")
    if invoice.kind != InvoiceKind.PERIOD:
        raise Conflict(f"invoice {invoice} bills no period: declare it void and invoice it once more", field="kind")
    for built in _built_on(invoice):
        message = f"{built} builds on {invoice}: it stays as it is, and a credit note corrects it"
        raise Conflict(message, field="invoice", code="built_on")
    lines = tuple(
        StoredLine(line.rated["inputs"]["reference"], line.description, line.amount)
        for line in invoice.lines.order_by("position")
    )
    customer = invoice.customer
    voided = reverse_invoice(invoice_id=invoice.pk, at=at, actor=actor, reason=reason)
    voided.customer = customer
    period = Period(as_utc(invoice.period_start), as_utc(invoice.period_end))
    if period not in set(periods_due(customer=customer, until=period.end)):
        return Reissue(voided, lines, None), None
    computed = compute_invoice(customer=customer, period=period, until=period.end)
    return Reissue(voided, lines, computed.assembled), computed


def _built_on(invoice: Invoice) -> Iterator[str]:
    """Yield the issued invoices and credit notes that hold something which follows from this one: they would be wrong without it."""
    others = InvoiceLine.objects.filter(invoice__customer=invoice.customer_id, invoice__status__in=OWED)
    others = others.exclude(invoice=invoice.pk).order_by("invoice__issued_at", "invoice_id")
    own = invoice.lines.all()
    # What was learnt later about its lines, and is invoiced.
    corrected = Q(correction__original__invoice=invoice.pk) | Q(correction__cause__original__invoice=invoice.pk)
    carrying = others.filter(corrected).exclude(amount=0)
    # Fees that it took in advance and others settled, or the other way round.
    advance = own.filter(adjustment__in=IN_ADVANCE).exclude(amount=0).values("subscription")
    after = Q(invoice__period_end__gt=invoice.period_end) | Q(
        invoice__period_end=invoice.period_end, invoice__period_start__gt=invoice.period_start
    )
    settling = others.filter(after, subscription__in=advance, adjustment__in=IN_ADVANCE)
    # Commitments towards which its charges count, drawn, trued up or ended by later ones.
    promised = others.filter(
        after,
        subscription__in=own.exclude(subscription=None).values("subscription"),
        tranche__starts_at__lt=invoice.period_end,
    )
    for found in (carrying, settling, promised):
        number = found.values_list("invoice__number", flat=True).first()
        if number is not None:
            yield f"invoice {number}"
    # What was given back for good of a progressive invoice that it takes off: made again, it would charge that once more.
    taken_off = own.exclude(progressive=None).values("progressive__invoice")
    given = CreditNote.objects.filter(invoice__in=taken_off, issued_at__gte=invoice.issued_at).order_by("id").first()
    if given is not None:
        yield f"credit note {given.number}"
