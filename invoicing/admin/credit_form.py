"""Credit an invoice, in the admin: what of which line, shown as the note would be, issued with a reason."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminRadioSelectWidget

from billing_site.display.admin import ReadOnlyAdmin, actor_of, attempt, go
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import exact_price, money_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.model import EXACT_DIGITS, EXACT_PLACES
from invoicing.admin.approvals import waits_words
from invoicing.admin.invoice_page import CREDIT, can_be_credited
from invoicing.admin.one_off import KeyedForm
from invoicing.approvals.models import Approval, ApprovedDeed
from invoicing.credit_notes.creditable import CreditableInvoice, CreditableLine, creditable_of
from invoicing.credit_notes.models import CreditNote, Disposition
from invoicing.credit_notes.operations import AssembledCredit, CreditAsked
from invoicing.credit_notes.queries import credited_alone
from invoicing.invoices.models import Invoice
from invoicing.workflows.ask_first import credit_or_ask, takes_second_person
from invoicing.workflows.credit_invoice import preview_credit

WHOLE, LINES = "whole", "lines"
AVERAGE = Decimal("0.00000001")
DISPOSITIONS = (
    (Disposition.OFFSET.value, "Nothing is left over"),
    (Disposition.BALANCE.value, "Keep it as credit for later invoices"),
    (Disposition.REFUND.value, "Pay it back"),
)


class CreditNoteForm(KeyedForm):
    """What is credited, and what becomes of it."""

    what = forms.ChoiceField(
        label="What is credited",
        choices=[(WHOLE, "All that is left of the invoice"), (LINES, "What is entered at the lines below")],
        widget=UnfoldAdminRadioSelectWidget(),
    )
    disposition = forms.ChoiceField(
        label="What becomes of what is more than open",
        choices=DISPOSITIONS,
        widget=UnfoldAdminRadioSelectWidget(),
        help_text="What is open of the invoice is taken off first. Credit pays for the next invoices by itself; money goes back through Stripe where"
        " it came from there, the rest is transferred by hand.",
    )

    def offer(self, *, creditable: CreditableInvoice) -> None:
        """Leave out what cannot be: nothing is left over where all is open, and something where nothing is, whatever is credited."""
        if creditable.left <= creditable.open:
            self.fields["disposition"].widget = forms.HiddenInput()
        elif not creditable.open.amount:
            self.fields["disposition"].choices = DISPOSITIONS[1:]  # type: ignore[attr-defined]


class LineForm(forms.Form):
    """How much of one line: a quantity or an amount; left empty, nothing of it."""

    position = forms.IntegerField(widget=forms.HiddenInput())
    quantity = forms.DecimalField(
        required=False,
        max_digits=EXACT_DIGITS,
        decimal_places=EXACT_PLACES,
        widget=UnfoldAdminDecimalFieldWidget(),
    )
    amount = AmountField(required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in ("quantity", "amount"):
            # Wide enough for a quantity with its decimals.
            self.fields[name].widget.attrs["style"] = "min-width: 10rem"
            self.fields[name].widget.attrs["aria-label"] = f"{name.capitalize()} of line {self['position'].value()}"


LineForms = forms.formset_factory(LineForm, extra=0)


class CreditPages(ReadOnlyAdmin):
    """The page that credits an invoice."""

    @action(description="Credit", url_path="credit")
    def credit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask what is credited, show the note as it would be, and issue exactly that."""
        invoice = self.row_or_404(request, object_id)
        if not request.user.has_perm(CREDIT):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        if not can_be_credited(invoice):
            return go(page)
        # Sent twice: the credit note of this key is there.
        made = CreditNote.objects.filter(invoice=invoice, key=request.POST.get("key", "")).first()
        if made is not None:
            return go(reverse("admin:invoicing_creditnote_change", args=[made.pk]))
        creditable = creditable_of(invoice=invoice)
        asked = request.POST if request.method == "POST" else None
        form = CreditNoteForm(asked, initial={"key": f"credit-{uuid4().hex}", "disposition": _usual(creditable)})
        form.offer(creditable=creditable)
        rows = [one for one in creditable.lines if one.left.amount and not one.refusal]
        lines = LineForms(asked, prefix="lines", initial=[{"position": one.line.position} for one in rows])
        shown = _shown(invoice, form, lines) if asked is not None and form.is_valid() and lines.is_valid() else None
        if shown is not None and request.POST.get("digest") == shown.digest:
            note = attempt(
                request,
                lambda: credit_or_ask(
                    invoice_id=invoice.pk,
                    key=form.cleaned_data["key"],
                    asked=_asked(invoice, form, lines),
                    disposition=form.cleaned_data["disposition"],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                    digest=shown.digest,
                ),
                done=lambda note: waits_words(note) or f"Issued as {note.number} over {money_text(note.total)}.",
            )
            if isinstance(note, Approval):
                return go(reverse("admin:invoicing_approval_change", args=[note.pk]))
            if note is not None:
                return go(reverse("admin:invoicing_creditnote_change", args=[note.pk]))
        context = self.page_context(
            request,
            title=f"Credit {invoice.number}",
            row=invoice,
            creditable=creditable,
            form=form,
            lines=lines,
            rows=list(zip(rows, lines.forms, strict=False)),
            refused=[one for one in creditable.lines if one.left.amount and one.refusal],
            shown=shown,
            alone=credited_alone(invoice=invoice),
            averages=[words for one in rows if (words := _average_words(one))],
            total="" if shown is None else money_text(shown.total),
            large_from=None
            if shown is None
            else takes_second_person(invoice=invoice, deed=ApprovedDeed.CREDIT_NOTE, amount=shown.total),
            back=page,
        )
        return TemplateResponse(request, "backoffice/credit_invoice.html", context)


def _average_words(one: CreditableLine) -> str:
    """Say at which price a quantity of a metered line is credited: tiers and free units are spread over all of it."""
    if not one.line.meter_key or not one.quantity_left:
        return ""
    average = (one.net.amount / one.line.quantity).quantize(AVERAGE)
    price = exact_price(amount=average, currency=one.net.currency.code)
    return f"line {one.line.position}: {price} per {one.line.unit or 'unit'}"


def _usual(creditable: CreditableInvoice) -> str:
    return (Disposition.OFFSET if creditable.left <= creditable.open else Disposition.BALANCE).value


def _asked(invoice: Invoice, form: CreditNoteForm, lines: Any) -> Sequence[CreditAsked]:
    if form.cleaned_data["what"] == WHOLE:
        return ()
    return [
        CreditAsked(
            row["position"],
            quantity=row["quantity"],
            amount=None if row["amount"] is None else Money(row["amount"], invoice.currency),
        )
        for row in (each.cleaned_data for each in lines if _is_filled(each))
    ]


def _is_filled(line: Any) -> bool:
    return any(line.cleaned_data.get(name) is not None for name in ("quantity", "amount"))


def _shown(invoice: Invoice, form: CreditNoteForm, lines: Any) -> AssembledCredit | None:
    """Return the note as it would be; what cannot be accepted is told at its field."""
    asked = _asked(invoice, form, lines)
    entered = [each.cleaned_data["position"] for each in lines if _is_filled(each)]
    if entered and form.cleaned_data["what"] == WHOLE:
        form.add_error("what", f"Something is entered at line {entered[0]}: choose the lines below, or clear it.")
        return None
    if not asked and form.cleaned_data["what"] == LINES:
        form.add_error("what", "Enter a quantity or an amount at a line.")
        return None
    try:
        return preview_credit(invoice=invoice, asked=asked, disposition=form.cleaned_data["disposition"], at=now())
    except BillingError as problem:
        filled = [each for each in lines if _is_filled(each)]
        told = False
        for error in problem.field_errors:
            place, _, field = error.field.removeprefix("lines[").partition("]")
            if error.field.startswith("lines[") and place.isdecimal() and int(place) < len(filled):
                name = field.removeprefix(".")
                filled[int(place)].add_error(name if name in ("quantity", "amount") else None, error.message)
                told = True
            elif error.field in form.fields:
                form.add_error(error.field, error.message)
                told = True
        if not told:
            form.add_error(None, problem.message)
        return None
