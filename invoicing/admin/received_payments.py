"""Payments in the admin: what came, from where, and what of it was taken back."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from billing_site.display.admin import ReadOnlyAdmin, ReasonForm, actor_of, attempt, confirmation, go
from billing_site.display.figures import NOTHING, link, moment, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.admin.approvals import waits_words
from invoicing.admin.payments import RECEIVED, invoice_link
from invoicing.customers.models import SettlementChannel
from invoicing.payments.models import Payment
from invoicing.payments.reversal import ReversalCause
from invoicing.workflows.reverse_payment import reverse_or_ask, why_not_reversed

SETTLE = "invoicing.record_transfer"
STILL_AT_STRIPE = "Stripe does not collect this invoice again by itself: it was withdrawn there when the money came."


class ReversalForm(ReasonForm):
    """Why a payment is taken back."""

    cause = forms.ChoiceField(
        choices=[("", "Choose what happened"), *ReversalCause.choices],
        widget=UnfoldAdminSelectWidget(),
        help_text="Returned: the money left the bank again. By mistake: it never was a payment of this invoice.",
    )
    field_order = ("cause", "reason")


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Money that arrived."""

    list_display = (RECEIVED, "customer_link", "invoice_link", "money_received", "state", "way")
    list_display_links = (RECEIVED,)
    list_filter = ("channel", "currency", ("received_at", admin.DateFieldListFilter))
    search_fields = ("reference", "invoice__number", "customer__key", "customer__name")
    list_select_related = ("invoice", "customer", "reversal")
    ordering = ("-received_at", "-id")
    fields = (
        "customer_link",
        "invoice_link",
        "money_received",
        "state",
        "channel",
        "reference",
        "received_at",
        "recorded_at",
        "reason",
        "taken_back",
    )
    readonly_fields = fields
    actions_detail = ("reverse_payment",)
    empty_message = "Payments come from Stripe's notices, or are recorded on the page of an invoice."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, payment: Payment) -> SafeString:
        """Link to the invoice."""
        return invoice_link(payment)

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, payment: Payment) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[payment.customer_id]), payment.customer)

    @admin.display(description="Channel and reference", ordering="channel")
    def way(self, payment: Payment) -> SafeString:
        """Show how it came, under which reference, and the reason given for recording it."""
        reason = format_html('<span class="bo-line bo-small">{}</span>', payment.reason) if payment.reason else ""
        return format_html(
            '{} <span class="bo-small bo-faint">{}</span>{}', payment.get_channel_display(), payment.reference, reason
        )

    @admin.display(description="State")
    def state(self, payment: Payment) -> SafeString:
        """Show whether it counts."""
        reversal = getattr(payment, "reversal", None)
        return pill("received") if reversal is None else pill("taken back", why=reversal.get_cause_display().lower())

    @admin.display(description="Taken back")
    def taken_back(self, payment: Payment) -> SafeString:
        """Say when, by whom and why."""
        reversal = getattr(payment, "reversal", None)
        if reversal is None:
            return NOTHING
        told = (moment(reversal.reversed_at), reversal.get_cause_display(), reversal.actor, reversal.reason)
        return format_html("{}: {}, by {}: {}", *told)

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer to take back what came by transfer, as long as it counts."""
        payment = Payment.objects.select_related("invoice").filter(pk=object_id).first()
        if payment is None or hasattr(payment, "reversal") or not request.user.has_perm(SETTLE):
            return []
        return [] if why_not_reversed(payment=payment) else super().get_actions_detail(request, object_id)

    @action(description="Take it back", url_path="take-back")
    def reverse_payment(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take a payment back that was returned, or recorded by mistake."""
        payment: Payment = self.row_or_404(request, object_id)
        if not request.user.has_perm(SETTLE):
            raise PermissionDenied
        page = reverse("admin:invoicing_payment_change", args=[payment.pk])
        form = ReversalForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            cause, reason = form.cleaned_data["cause"], form.cleaned_data["reason"]
            attempt(
                request,
                lambda: reverse_or_ask(
                    payment_id=payment.pk, cause=cause, at=now(), actor=actor_of(request), reason=reason
                ),
                done=lambda done: (
                    waits_words(done) or f"{money_text(payment.amount)} of invoice {payment.invoice} are open again."
                ),
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Take payment {payment.reference} back",
            effect=f"{money_text(payment.amount)} of invoice {payment.invoice} are open again, in the books too, and its customer owes"
            " them by the due date that it had. Where the bank has booked the return, say so on that line instead: it is found there.",
            warnings=[STILL_AT_STRIPE] if payment.invoice.settlement_channel == SettlementChannel.STRIPE else [],
            form=form,
            submit="Take it back",
            back=page,
            dangerous=True,
            row=payment,
        )

    @admin.display(description="Amount", ordering="amount")
    def money_received(self, payment: Payment) -> SafeString:
        """Show the amount."""
        return money(payment.amount)
