"""Credit notes in the admin: the list with reasons, the page of one, and refunds that somebody transfers."""

from datetime import UTC, datetime, time
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSingleDateWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import ReadOnlyAdmin, actor_of, attempt, confirmation, go, moment_column
from billing_site.display.figures import link, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.credit_notes.models import CreditNote
from invoicing.credit_notes.queries import credit_note_by_number
from invoicing.customers.models import SettlementChannel
from invoicing.e_invoices.statement import why_no_e_invoice
from invoicing.ledger.models import JournalEntry
from invoicing.payments.queries import refunds_to_transfer, with_paid_back
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.workflows.pay_refund import REFERENCE_LENGTH_MAX, settle_refund

REFUND = "invoicing.record_refund"
WORDS = {"pending": "pending", "paid": "paid", "refused": "refused"}


class TransferBackForm(forms.Form):
    """What the bank statement says of a refund."""

    reference = forms.CharField(
        max_length=REFERENCE_LENGTH_MAX,
        widget=UnfoldAdminTextInputWidget(),
        help_text="As on the bank statement; one reference is recorded once.",
    )
    paid_date = forms.DateField(label="Paid on (UTC)", widget=UnfoldAdminSingleDateWidget())

    def clean_paid_date(self) -> Any:
        """Refuse money from the future."""
        if self.cleaned_data["paid_date"] > now().date():
            raise forms.ValidationError("lies in the future")
        return self.cleaned_data["paid_date"]


class RefundFilter(admin.SimpleListFilter):
    """Credit notes whose refunds wait for somebody."""

    title = "refund"
    parameter_name = "refund"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("by_hand", "To be transferred"), ("at_stripe", "On its way through Stripe"), ("paid", "Paid")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those."""
        match self.value():
            case "by_hand":
                return queryset.filter(pk__in=refunds_to_transfer().values("note"))
            case "at_stripe":
                waiting = Refund.objects.filter(status=RefundStatus.PENDING, channel=SettlementChannel.STRIPE)
                return queryset.filter(pk__in=waiting.values("note"))
            case "paid":
                return queryset.filter(pk__in=Refund.objects.filter(status=RefundStatus.PAID).values("note"))
        return queryset


@admin.register(CreditNote)
class CreditNoteAdmin(ReadOnlyAdmin):
    """What was given back of issued invoices."""

    list_display = (
        "number",
        "invoice_link",
        "customer_link",
        "amount",
        "became",
        "why",
        moment_column("issued_at", "Issued"),
    )
    list_filter = (RefundFilter, "disposition", "currency", ("issued_at", admin.DateFieldListFilter))
    search_fields = ("number", "key", "reason", "invoice__number", "customer__key", "customer__name")
    list_select_related = ("customer", "invoice", "grant")
    ordering = ("-id",)
    empty_message = "An issued invoice is corrected by a credit note and nothing else: press Credit on its page."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the notes with whether their refunds are paid."""
        return with_paid_back(notes=super().get_queryset(request))

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, note: CreditNote) -> SafeString:
        """Link to the invoice."""
        return link(reverse("admin:invoicing_invoice_change", args=[note.invoice_id]), note.invoice)

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, note: CreditNote) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[note.customer_id]), note.customer)

    @admin.display(description="Credited", ordering="total")
    def amount(self, note: CreditNote) -> SafeString:
        """Show what it is over."""
        return money(note.total)

    @admin.display(description="Became")
    def became(self, note: CreditNote) -> SafeString:
        """Show the parts."""
        told = ", ".join(
            f"{money_text(amount)} {words}"
            for amount, words in (
                (note.offset_amount, "off what was open"),
                (note.balance_amount, "kept as credit"),
                (note.refund_amount, "paid back" if note.is_paid_back else "to be paid back"),  # type: ignore[attr-defined]
            )
            if amount.amount
        )
        return format_html('<span class="bo-small">{}</span>', told)

    @admin.display(description="Reason", ordering="reason")
    def why(self, note: CreditNote) -> SafeString:
        """Show the reason on two lines, the whole of it on hover, and whose it is."""
        clipped = format_html('<span class="bo-clamp" title="{}">{}</span>', note.reason, note.reason)
        return format_html('{}<span class="bo-line bo-small bo-faint">{}</span>', clipped, note.actor)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the credit note."""
        row = self.row_or_404(request, object_id)
        note = credit_note_by_number(number=row.number)
        refunds = list(note.refunds.order_by("id"))
        references = [f"{one.channel}:{one.reference}" for one in refunds if one.status == RefundStatus.PAID]
        entries = JournalEntry.objects.filter(kind=JournalEntry.Kind.CREDIT_NOTE, reference=note.number)
        entries |= JournalEntry.objects.filter(kind=JournalEntry.Kind.REFUND, reference__in=references)
        waiting = set(refunds_to_transfer().filter(note=note).values_list("pk", flat=True))
        context = self.page_context(
            request,
            title=str(note),
            row=note,
            paid_back="Paid back" if row.is_paid_back else "To be paid back",
            refunds=[(one, pill(WORDS[one.status]), one.pk in waiting) for one in refunds],
            entries=entries.prefetch_related("postings__account").order_by("occurred_at", "id"),
            may_record=request.user.has_perm(REFUND),
            has_e_invoice=not why_no_e_invoice(invoice=note.invoice),
        )
        return TemplateResponse(request, "backoffice/credit_note.html", context)

    def get_urls(self) -> list[Any]:
        """Add the page that writes a refund down."""
        view = self.admin_site.admin_view(self.refund_paid)
        return [
            path("<int:note>/refund/<int:refund>/", view, name="invoicing_creditnote_refund"),
            *super().get_urls(),
        ]

    def refund_paid(self, request: HttpRequest, note: int, refund: int) -> HttpResponse:
        """Write down that a refund was transferred."""
        if not request.user.has_perm(REFUND):
            raise PermissionDenied
        row = Refund.objects.select_related("note__customer").filter(pk=refund, note=note).first()
        if row is None:
            raise Http404("there is no such refund")
        page = reverse("admin:invoicing_creditnote_change", args=[row.note_id])
        at = now()
        form = TransferBackForm(request.POST or None, initial={"paid_date": at.date()})
        if request.method == "POST" and form.is_valid():
            noon = datetime.combine(form.cleaned_data["paid_date"], time(12), UTC)
            done = attempt(
                request,
                lambda: settle_refund(
                    refund_id=row.pk,
                    channel=SettlementChannel.MANUAL,
                    reference=form.cleaned_data["reference"],
                    paid_at=min(
                        max(noon, row.note.issued_at) if noon.date() == row.note.issued_at.date() else noon, at
                    ),
                    actor=actor_of(request),
                ),
                done=lambda paid: f"{money_text(paid.amount)} are written down as paid back.",
            )
            if done is not None:
                return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Write down the refund of {row.note.number}",
            effect=f"{money_text(row.amount)} were transferred to {row.note.customer}. The books take them from the bank; it cannot be taken back.",
            warnings=[f"Stripe refused to pay it back: {row.last_error}"] if row.status == RefundStatus.REFUSED else [],
            form=form,
            submit="Write it down",
            back=page,
            row=row.note,
        )
