"""The list of invoices whose charge failed: it says why, where other lists say for which period."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import StaffAdmin
from invoicing.payments.models import PaymentFailure


class FailedCharges(StaffAdmin):
    """Beside the list of invoices: why the newest charge of each failed."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the invoices with their newest refusal."""
        newest = PaymentFailure.objects.filter(invoice=OuterRef("pk")).order_by("-occurred_at", "-id")
        invoices: QuerySet[Any] = super().get_queryset(request)
        return invoices.annotate(
            failed_code=Subquery(newest.values("code")[:1]), failed_message=Subquery(newest.values("message")[:1])
        )

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        """Say why the charge failed in the list of those whose did."""
        if request.GET.get("state") != "failed":
            return self.list_display
        return ["why_failed" if name == "billed_period" else name for name in self.list_display]

    @admin.display(description="Why it failed", ordering="failed_code")
    def why_failed(self, invoice: Any) -> SafeString:
        """Show Stripe's word for the newest refusal, and what the bank said."""
        return format_html(
            '{}<span class="bo-line bo-small bo-faint bo-break">{}</span>',
            (invoice.failed_code or "").replace("_", " "),
            invoice.failed_message or "",
        )
