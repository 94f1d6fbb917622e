"""Changes of drafts by hand that are not as they were decided: a line that says something else, or a change that its invoice leaves out."""

from collections.abc import Iterator

from billing_site.kernel.money import plain
from invoicing.core.contract import AdjustmentKind
from invoicing.core.invoice_life import STANDING
from invoicing.draft_edits.models import LineEdit
from invoicing.draft_edits.queries import reference_of_edit
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceLine, InvoiceStatus, LineKind


def edit_faults() -> Iterator[tuple[str, str]]:
    """Yield each line of an issued invoice that stands for no change as somebody made it, and each change that the invoice of its period lacks."""
    edits = {reference_of_edit(edit=edit): edit for edit in LineEdit.objects.order_by("id")}
    changed = InvoiceLine.objects.filter(kind=LineKind.ADJUSTMENT, adjustment=AdjustmentKind.EDIT.value)
    lines = changed.exclude(invoice__status=InvoiceStatus.DRAFT)
    told: set[tuple[int, str]] = set()
    first: dict[str, str] = {}
    for line in lines.select_related("invoice").order_by("invoice_id", "position"):
        reference, term = line.rated["inputs"]["reference"], line.rated["inputs"]["term"]
        told.add((line.invoice_id, reference))
        kept = first.get(reference)
        first.setdefault(reference, plain(line.amount.amount))
        edit = edits.get(reference)
        if edit is None or (edit.customer_id, edit.period_start, edit.period_end) != (
            line.invoice.customer_id,
            line.invoice.period_start,
            line.invoice.period_end,
        ):
            yield f"invoice {line.invoice.number}, line {line.position}", "nobody has made this change"
        elif (term["description"], term["line"], term["amount"]) != (
            edit.description,
            edit.line,
            plain(edit.amount.amount),
        ):
            yield f"invoice {line.invoice.number}, line {line.position}", "somebody has decided something else"
        elif term.get("kept") != kept:
            yield f"invoice {line.invoice.number}, line {line.position}", "it was issued as something else before"
        elif edit.ended_at is not None and line.invoice.status in STANDING:
            yield f"invoice {line.invoice.number}, line {line.position}", "its change was taken back"
    for reference, edit in edits.items():
        if edit.ended_at is None:
            yield from _left_out(edit, reference, told)


def _left_out(edit: LineEdit, reference: str, told: set[tuple[int, str]]) -> Iterator[tuple[str, str]]:
    standing = Invoice.objects.filter(
        customer=edit.customer_id,
        kind=InvoiceKind.PERIOD,
        period_start=edit.period_start,
        period_end=edit.period_end,
        status__in=STANDING,
    )
    for invoice in standing.order_by("id"):
        if (invoice.pk, reference) not in told:
            yield f"invoice {invoice.number}", f"it leaves out a change that was made: {edit.description}"
