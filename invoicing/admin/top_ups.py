"""Top-ups in the admin: prepaid credit that was sold, and whether it was paid for."""

from django.contrib import admin
from django.urls import reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import NOTHING, figure, link
from billing_site.display.pills import pill
from invoicing.top_ups.models import TopUp

WORDS = {"open": "waiting", "paid": "paid", "closed": "void"}


@admin.register(TopUp)
class TopUpAdmin(ReadOnlyAdmin):
    """Credit that invoices sell."""

    list_display = (moment_column("made_at", "Made"), "invoice_link", "customer_link", "state", "sold", "granted")
    list_filter = ("status", "currency")
    list_select_related = ("customer", "invoice", "grant")
    search_fields = ("invoice__number", "invoice__key", "customer__key", "customer__name", "name")
    ordering = ("-id",)
    fields = (
        "invoice_link",
        "customer_link",
        "state",
        "name",
        "sold",
        "valid_days",
        "granted",
        "payment",
        "made_at",
        "actor",
        "reason",
    )
    readonly_fields = ("invoice_link", "customer_link", "state", "sold", "granted")
    empty_message = "Prepaid credit that is sold, by hand or by a rule, stands here with its invoice. Sell some from a customer's page."

    @admin.display(description="Invoice", ordering="invoice__number")
    def invoice_link(self, top_up: TopUp) -> SafeString:
        """Link to the invoice."""
        return link(reverse("admin:invoicing_invoice_change", args=[top_up.invoice_id]), top_up.invoice)

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, top_up: TopUp) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[top_up.customer_id]), top_up.customer)

    @admin.display(description="State", ordering="status")
    def state(self, top_up: TopUp) -> SafeString:
        """Show where it stands as a pill."""
        return pill(WORDS[top_up.status])

    @admin.display(description="Sold", ordering="amount")
    def sold(self, top_up: TopUp) -> SafeString:
        """Show what is sold."""
        return figure(amount=top_up.amount.amount, currency=top_up.currency)

    @admin.display(description="Credit")
    def granted(self, top_up: TopUp) -> SafeString:
        """Link to the grant, once there is one."""
        if top_up.grant is None:
            return NOTHING
        return link(reverse("admin:invoicing_creditgrant_change", args=[top_up.grant_id]), top_up.grant.name)
