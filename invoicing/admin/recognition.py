"""Recognised revenue in the admin: what of each subscription was served by the end of a month, with the entry that books it."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin
from billing_site.display.figures import link, money
from invoicing.recognition.models import RecognisedRevenue

ONE_DAY = timedelta(days=1)


class MonthFilter(admin.SimpleListFilter):
    """By month."""

    title = "month"
    parameter_name = "month"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the last two years of months in which something was recognised."""
        months = RecognisedRevenue.objects.order_by("-month").values_list("month", flat=True).distinct()[:24]
        return [(f"{one:%Y-%m-%d}", f"{one:%B %Y}") for one in months]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the chosen month."""
        return queryset.filter(month=self.value()) if self.value() in dict(self.lookup_choices) else queryset


@admin.register(RecognisedRevenue)
class RecognisedRevenueAdmin(ReadOnlyAdmin):
    """What was served of what was paid in advance, month by month."""

    list_display = (
        "of_month",
        "subscription_link",
        "customer",
        "service",
        "held_amount",
        "served_amount",
        "entry_link",
    )
    list_filter = (MonthFilter, "currency", "legal_entity")
    search_fields = ("subscription__key", "subscription__customer__key", "subscription__customer__name")
    list_select_related = ("subscription__customer", "entry")
    ordering = ("-month", "subscription__key", "id")
    empty_message = "Of fees that are invoiced in advance, each month that ends counts what was served by then: one row a subscription."
    fields = (
        "of_month",
        "subscription_link",
        "customer",
        "service",
        "held_amount",
        "served_amount",
        "entry_link",
        "legal_entity",
        "recorded_at",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    @admin.display(description="Month", ordering="month")
    def of_month(self, row: RecognisedRevenue) -> str:
        """Show the month."""
        return f"{row.month:%Y-%m}"

    @admin.display(description="Subscription", ordering="subscription__key")
    def subscription_link(self, row: RecognisedRevenue) -> SafeString:
        """Link to the subscription."""
        return link(reverse("admin:invoicing_subscription_change", args=[row.subscription_id]), row.subscription.key)

    @admin.display(description="Customer", ordering="subscription__customer__name")
    def customer(self, row: RecognisedRevenue) -> str:
        """Name the customer."""
        return row.subscription.customer.name

    @admin.display(description="Paid for", ordering="service_start")
    def service(self, row: RecognisedRevenue) -> SafeString:
        """Show the days of the service, the last one included."""
        words = '<span class="bo-line bo-nowrap">{}</span><span class="bo-line bo-nowrap">to {}</span>'
        return format_html(words, row.service_start, row.service_end - ONE_DAY)

    @admin.display(description="Held for it", ordering="held")
    def held_amount(self, row: RecognisedRevenue) -> SafeString:
        """Show what stood for the whole service."""
        return money(row.held)

    @admin.display(description="Served by then", ordering="amount")
    def served_amount(self, row: RecognisedRevenue) -> SafeString:
        """Show what this row adds to what was served by then."""
        return money(row.amount)

    @admin.display(description="Entry")
    def entry_link(self, row: RecognisedRevenue) -> SafeString:
        """Link to the journal entry."""
        return link(
            reverse("admin:invoicing_journalentry_change", args=[row.entry_id]), "entry", title=row.entry.reference
        )
