"""Unusual usage in the admin: who used unusually much or little of what, when, and what would have been usual."""

from django.contrib import admin
from django.urls import reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import link, quantity
from billing_site.display.pills import AMBER, BLUE, pill
from invoicing.admin.spend_words import usual_text
from invoicing.core.anomaly import Direction
from invoicing.spend.models import UsageAnomaly


@admin.register(UsageAnomaly)
class UsageAnomalyAdmin(ReadOnlyAdmin):
    """Days on which customers used unusually much or little."""

    list_display = (
        "customer_link",
        "day",
        "meter",
        "much",
        "side",
        "usual_range",
        moment_column("noticed_at", "Noticed"),
    )
    list_filter = ("direction", "meter", "day")
    search_fields = ("customer__key", "customer__name", "meter")
    list_select_related = ("customer",)
    ordering = ("-id",)
    empty_message = (
        "Yesterday and today of each customer and meter are compared every hour with days alike of the last four weeks;"
        " what is unusual stands here."
    )

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, anomaly: UsageAnomaly) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[anomaly.customer_id]) + "#spend", anomaly.customer)

    @admin.display(description="Used", ordering="quantity")
    def much(self, anomaly: UsageAnomaly) -> SafeString:
        """Show how much, as a link to the events."""
        events = reverse("admin:metering_usageevent_changelist") + f"?q={anomaly.customer.key}"
        return link(events, quantity(anomaly.quantity, anomaly.unit))

    @admin.display(description="Side", ordering="direction")
    def side(self, anomaly: UsageAnomaly) -> SafeString:
        """Show on which side of the usual range it lies."""
        return pill(anomaly.direction, tone=AMBER if anomaly.direction == Direction.ABOVE else BLUE)

    @admin.display(description="What is usual")
    def usual_range(self, anomaly: UsageAnomaly) -> str:
        """Show the range."""
        return usual_text(anomaly)
