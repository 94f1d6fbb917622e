"""Unusual usage in the admin: who used unusually much or little of what, when, what would have been usual, and what was found."""

from django.contrib import admin
from django.urls import reverse
from django.utils.safestring import SafeString

from billing_site.display.admin import moment_column
from billing_site.display.figures import link, moment, quantity
from billing_site.display.pills import AMBER, BLUE, pill
from billing_site.kernel.words import counted
from invoicing.admin.reviewing import OpenFilter, Reviewed, ReviewedAdmin
from invoicing.admin.spend_words import usual_text
from invoicing.core.anomaly import Direction
from invoicing.spend.anomalies import open_anomalies, review_anomalies
from invoicing.spend.models import UsageAnomaly


@admin.register(UsageAnomaly)
class UsageAnomalyAdmin(ReviewedAdmin):
    """Days on which customers used unusually much or little."""

    reviewed = Reviewed(
        permission="invoicing.review_usageanomaly",
        title="What was found about unusual usage",
        counted=lambda number: f"{number:,} unusual {counted('day', number)}",
        unchanged="Nothing about usage or money changes.",
        look_at="look at its events",
        waiting=open_anomalies,
        review=review_anomalies,
    )

    list_display = (
        "day",
        "customer_link",
        "meter",
        "much",
        "side",
        "usual_range",
        "state",
        moment_column("noticed_at", "Noticed"),
    )
    list_filter = (OpenFilter, "direction", "meter", "day")
    search_fields = ("customer__key", "customer__name", "meter")
    list_select_related = ("customer", "review")
    ordering = ("-id",)
    fields = ("customer_link", "day", "meter", "much", "side", "usual_range", "day_count", "noticed", "state", "said")
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

    @admin.display(description="Noticed")
    def noticed(self, anomaly: UsageAnomaly) -> SafeString:
        """Show when it was told."""
        return moment(anomaly.noticed_at)
