"""Money in: payments, refusals, pushes to Stripe and Stripe's notices; all read-only."""

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import NOTHING, link, money
from billing_site.display.pills import pill
from invoicing.payments.models import Payment, PaymentFailure, PushIntent, PushStatus, StripeNotice

RECEIVED = moment_column("received_at", "Received")


def invoice_link(row: Any) -> SafeString:
    """Link to the invoice that a row is about."""
    return link(reverse("admin:invoicing_invoice_change", args=[row.invoice_id]), row.invoice)


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """Money that arrived."""

    list_display = (RECEIVED, "customer_link", "invoice_link", "money_received", "way")
    list_display_links = (RECEIVED,)
    list_filter = ("channel", "currency", ("received_at", admin.DateFieldListFilter))
    search_fields = ("reference", "invoice__number", "customer__key", "customer__name")
    list_select_related = ("invoice", "customer")
    ordering = ("-received_at", "-id")
    fields = (
        "customer_link",
        "invoice_link",
        "money_received",
        "channel",
        "reference",
        "received_at",
        "recorded_at",
        "reason",
    )
    readonly_fields = fields
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

    @admin.display(description="Amount", ordering="amount")
    def money_received(self, payment: Payment) -> SafeString:
        """Show the amount."""
        return money(payment.amount)


@admin.register(PaymentFailure)
class PaymentFailureAdmin(ReadOnlyAdmin):
    """Attempts to collect that were refused."""

    list_display = ("code", moment_column("occurred_at", "Happened"), "invoice_link", "message", "reference")
    list_display_links = ("code",)
    list_filter = ("code", ("occurred_at", admin.DateFieldListFilter))
    search_fields = ("reference", "message", "invoice__number", "invoice__customer__key")
    list_select_related = ("invoice",)
    ordering = ("-occurred_at", "-id")
    fields = ("invoice_link", "code", "message", "reference", "occurred_at")
    readonly_fields = fields
    empty_message = "A declined card leaves a row here, with the bank's reason."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, failure: PaymentFailure) -> SafeString:
        """Link to the invoice."""
        return invoice_link(failure)


class TroubleFilter(admin.SimpleListFilter):
    """Pushes that failed and are tried again."""

    title = "trouble"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("failing", "Pending with an error")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those."""
        if self.value() == "failing":
            return queryset.filter(status=PushStatus.PENDING).exclude(last_error="")
        return queryset


@admin.register(PushIntent)
class PushIntentAdmin(ReadOnlyAdmin):
    """Our decisions to send an invoice to Stripe, and how far each is."""

    list_display = (
        "state",
        "invoice_link",
        "invoice_total",
        "attempt_count",
        "last_error",
        moment_column("next_attempt_at", "Next attempt"),
        moment_column("pushed_at", "Pushed"),
    )
    list_display_links = ("state",)
    list_filter = ("status", TroubleFilter)
    search_fields = ("stripe_invoice_id", "invoice__number", "invoice__customer__key", "last_error")
    list_select_related = ("invoice",)
    ordering = ("-id",)
    fields = (
        "invoice_link",
        "state",
        "invoice_total",
        "key",
        "stripe_invoice_id",
        "attempt_count",
        "last_error",
        "created_at",
        "next_attempt_at",
        "pushed_at",
    )
    readonly_fields = fields
    empty_message = "Issuing an invoice of a customer who pays through Stripe writes a row here."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, push: PushIntent) -> SafeString:
        """Link to the invoice."""
        return invoice_link(push)

    @admin.display(description="State", ordering="status")
    def state(self, push: PushIntent) -> SafeString:
        """Show how far it is."""
        return pill(push.status)

    @admin.display(description="Total", ordering="invoice__total")
    def invoice_total(self, push: PushIntent) -> SafeString:
        """Show what is pushed."""
        return money(push.invoice.total)


class WaitingFilter(admin.SimpleListFilter):
    """Notices by whether something was done about them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("waiting", "Waiting"), ("failing", "Waiting with an error"), ("processed", "Processed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the notices in the chosen state."""
        match self.value():
            case "waiting":
                return queryset.filter(processed_at__isnull=True)
            case "failing":
                return queryset.filter(processed_at__isnull=True).exclude(last_error="")
            case "processed":
                return queryset.filter(processed_at__isnull=False)
        return queryset


@admin.register(StripeNotice)
class StripeNoticeAdmin(ReadOnlyAdmin):
    """What Stripe told us, and what came of it."""

    list_display = (RECEIVED, "event_type", "object_id", "state", "outcome", "delivery_count", "event_id")
    list_display_links = (RECEIVED,)
    list_filter = (WaitingFilter, "event_type")
    search_fields = ("event_id", "object_id", "event_type")
    ordering = ("-received_at", "-id")
    fields = (
        "event_id",
        "event_type",
        "object_id",
        "state",
        "outcome",
        "received_at",
        "processed_at",
        "delivery_count",
        "attempt_count",
        "last_error",
        "body_text",
    )
    readonly_fields = fields
    empty_message = "Verified webhooks of Stripe stand here, each once."

    @admin.display(description="State")
    def state(self, notice: StripeNotice) -> SafeString:
        """Show whether it was acted on."""
        if notice.processed_at is not None:
            return pill("processed")
        return pill("failed", why="tried again") if notice.last_error else pill("waiting")

    @admin.display(description="Body")
    def body_text(self, notice: StripeNotice) -> SafeString:
        """Show the notice as Stripe sent it."""
        if not notice.body:
            return NOTHING
        return format_html('<pre class="bo-code">{}</pre>', json.dumps(notice.body, indent=2, ensure_ascii=False))
