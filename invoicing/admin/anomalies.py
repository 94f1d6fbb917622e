"""Unusual usage in the admin: who used unusually much or little of what, when, what would have been usual, and what was found."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt,
    confirmation,
    go,
    moment_column,
    show_selected,
)
from billing_site.display.figures import link, moment, quantity
from billing_site.display.pills import AMBER, BLUE, GREEN, pill
from billing_site.kernel.clock import now
from billing_site.kernel.words import counted
from invoicing.admin.spend_words import usual_text
from invoicing.core.anomaly import Direction
from invoicing.spend.anomalies import open_anomalies, review_anomalies
from invoicing.spend.models import UsageAnomaly

REVIEW = "invoicing.review_usageanomaly"


class OpenFilter(admin.SimpleListFilter):
    """By whether somebody has looked into it."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("open", "Nobody has looked into it"), ("done", "Looked into")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        if self.value() not in ("open", "done"):
            return queryset
        return queryset.filter(review__isnull=self.value() == "open")


class FoundForm(ReasonForm):
    """What was found."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Ask for it in these words."""
        super().__init__(*args, **options)
        self.fields["reason"].label = "What was found"
        self.fields["reason"].help_text = "It stands beside the day and your name: a launch, a test, a broken sender."


@admin.register(UsageAnomaly)
class UsageAnomalyAdmin(ReadOnlyAdmin):
    """Days on which customers used unusually much or little."""

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
    actions = ("review_selected",)
    actions_detail = ("review",)
    fields = ("customer_link", "day", "meter", "much", "side", "usual_range", "day_count", "noticed", "state", "found")
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

    @admin.display(description="State")
    def state(self, anomaly: UsageAnomaly) -> SafeString:
        """Show whether somebody has looked into it."""
        return pill("looked into", tone=GREEN) if hasattr(anomaly, "review") else pill("open", tone=AMBER)

    @admin.display(description="Noticed")
    def noticed(self, anomaly: UsageAnomaly) -> SafeString:
        """Show when it was told."""
        return moment(anomaly.noticed_at)

    @admin.display(description="What was found")
    def found(self, anomaly: UsageAnomaly) -> str | SafeString:
        """Show what was said about it, by whom and when."""
        if not hasattr(anomaly, "review"):
            return "nothing yet: look at its events, then say what was found"
        review = anomaly.review
        return format_html("{} ({}, {})", review.reason, review.actor, moment(review.reviewed_at))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    def has_review_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Say whether this person may say what was found."""
        return bool(request.user.has_perm(REVIEW))

    @admin.action(description="Say what was found about the selected", permissions=["review"])
    def review_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Say it once of several: a launch is unusual for many."""
        waiting = open_anomalies().filter(pk__in=queryset.values("pk"))
        form = FoundForm(request.POST if "confirmed" in request.POST else None)
        back = reverse("admin:invoicing_usageanomaly_changelist")
        return self._review(
            request, waiting, form, back=back, hidden=show_selected(request, queryset, action="review_selected")
        )

    @action(description="Say what was found", url_path="review")
    def review(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Say it of one."""
        anomaly = self.row_or_404(request, object_id)
        if not request.user.has_perm(REVIEW):
            raise PermissionDenied
        page = reverse("admin:invoicing_usageanomaly_change", args=[anomaly.pk])
        return self._review(request, open_anomalies().filter(pk=anomaly.pk), FoundForm(request.POST or None), back=page)

    def _review(
        self,
        request: HttpRequest,
        waiting: QuerySet[UsageAnomaly],
        form: forms.Form,
        *,
        back: str,
        hidden: list[tuple[str, str]] | None = None,
    ) -> HttpResponse:
        keys = list(waiting.values_list("pk", flat=True))
        if form.is_valid():
            attempt(
                request,
                lambda: review_anomalies(
                    anomalies=keys, at=now(), actor=actor_of(request), reason=form.cleaned_data["reason"]
                ),
                done=lambda number: f"Looked into: {number:,} unusual {counted('day', number)}.",
            )
            return go(back)
        number = len(keys)
        return confirmation(
            request,
            admin=self,
            title="What was found about unusual usage",
            effect=f"{number:,} unusual {counted('day', number)} will no longer wait on Needs you. Nothing about usage or money changes.",
            warnings=[] if keys else ["Somebody has looked into it already: what was said stays."],
            form=form,
            submit="Looked into",
            hidden=hidden or (),
            back=back,
        )
