"""Subscriptions: listed, started and ended; never edited."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    confirmation,
    go,
    history_of,
    moment_column,
)
from billing_site.display.figures import link
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.customer_page import subscription_state
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.start import start_subscription


class StartForm(forms.ModelForm):
    """What a subscription needs to start."""

    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    class Meta:
        model = Subscription
        fields = ("key", "customer", "plan_version", "started_at", "anchor")
        labels: ClassVar = {"started_at": "Started at (UTC)"}
        help_texts: ClassVar = {
            "started_at": "In UTC, whatever the customer's zone: midnight of 1 November in Berlin is 23:00 of 31 October."
        }

    def clean(self) -> dict[str, Any]:
        """Try the operation itself and take it back, so that what it refuses is told at its field."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            with transaction.atomic():
                start(cleaned, actor="form")
                transaction.set_rollback(True)
        except BillingError as problem:
            add_field_errors(self, problem, renamed=RENAMED)
        return cleaned


# The operation's words for what this form calls otherwise.
RENAMED = {"plan": "plan_version"}


def start(fields: Mapping[str, Any], *, actor: str) -> Subscription:
    """Start a subscription with the form's fields."""
    return start_subscription(
        key=fields["key"],
        customer=fields["customer"],
        plan_version=fields["plan_version"],
        started_at=fields["started_at"],
        anchor=fields["anchor"],
        actor=actor,
        reason=fields["reason"],
    )


class EndForm(ReasonForm):
    """From when on the subscription is no longer in force, and why."""

    ended_at = forms.SplitDateTimeField(
        label="Ends at (UTC)",
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="The last period is billed up to this moment.",
    )
    field_order = ("ended_at", "reason")


class InForceFilter(admin.SimpleListFilter):
    """By whether a subscription is in force now."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the three states."""
        return [("running", "Running"), ("planned", "Planned"), ("ended", "Ended")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the subscriptions in the chosen state."""
        at = now()
        match self.value():
            case "running":
                return queryset.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=at), started_at__lte=at)
            case "planned":
                return queryset.filter(started_at__gt=at)
            case "ended":
                return queryset.filter(ended_at__lte=at)
        return queryset


@admin.register(Subscription)
class SubscriptionAdmin(TrackedAdmin):
    """Which plan is in force for whom."""

    form = StartForm
    list_display = (
        "key",
        "customer_link",
        "plan",
        "state",
        moment_column("started_at", "In force from"),
        moment_column("ended_at", "Until"),
    )
    list_filter = (InForceFilter, "plan_version__plan", "anchor")
    search_fields = ("key", "customer__key", "customer__name")
    autocomplete_fields = ("customer",)
    list_select_related = ("customer", "plan_version__plan")
    ordering = ("-started_at", "-id")
    fields = ("key", "customer", "plan_version", "started_at", "anchor", "reason")
    empty_message = "A subscription puts a plan in force for a customer; start one here or over the API."

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, subscription: Subscription) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[subscription.customer_id]), subscription.customer)

    @admin.display(description="Plan", ordering="plan_version__plan__name")
    def plan(self, subscription: Subscription) -> SafeString:
        """Link to the plan version."""
        version = subscription.plan_version
        return link(reverse("admin:invoicing_planversion_change", args=[version.pk]), version)

    @admin.display(description="State")
    def state(self, subscription: Subscription) -> SafeString:
        """Show whether it is in force."""
        return pill(subscription_state(subscription, at=now()))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer published versions, the newest of each plan first."""
        if db_field.name == "plan_version":
            options["queryset"] = (
                PlanVersion.objects.filter(published_at__isnull=False)
                .select_related("plan")
                .order_by("plan__name", "-number")
            )
        return super().formfield_for_foreignkey(db_field, request, **options)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose a key for the customer it is started from."""
        initial: dict[str, Any] = super().get_changeform_initial_data(request)
        customer = Customer.objects.filter(pk=initial.get("customer") or 0).first()
        if customer is not None and "key" not in initial:
            initial["key"] = f"{customer.key}-{customer.subscriptions.count() + 1}"
        return initial

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Subscriptions are started and ended, not edited."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Start it through the operation."""
        obj.pk = start(form.cleaned_data, actor=actor_of(request)).pk

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the subscription and what may be done with it."""
        subscription = self.row_or_404(request, object_id)
        at = now()
        context = self.page_context(
            request,
            title=subscription.key,
            row=subscription,
            state=subscription_state(subscription, at=at),
            may_end=subscription.ended_at is None and request.user.has_perm("invoicing.change_subscription"),
            invoices=list(
                subscription.invoice_lines.select_related("invoice").order_by("-invoice__period_end", "position")[:50]
            ),
            changes=history_of(subscription),
        )
        return TemplateResponse(request, "backoffice/subscription.html", context)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the subscription's page."""
        return go(reverse("admin:invoicing_subscription_change", args=[obj.pk]))

    actions_detail = ("end",)

    @action(description="End", url_path="end")
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask from when and why, then end the subscription."""
        subscription = self.row_or_404(request, object_id)
        if not request.user.has_perm("invoicing.change_subscription"):
            raise PermissionDenied
        page = reverse("admin:invoicing_subscription_change", args=[subscription.pk])
        form = EndForm(request.POST or None, initial={"ended_at": now().replace(second=0, microsecond=0)})
        if request.method == "POST" and form.is_valid():
            try:
                end_subscription(
                    subscription=subscription,
                    ended_at=form.cleaned_data["ended_at"],
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                )
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                self.message_user(
                    request, f"Subscription {subscription.key} ends; its last period is billed up to then."
                )
                return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"End subscription {subscription.key}",
            effect=f"{subscription.plan_version} ends for {subscription.customer}. "
            "What was used before the end is still billed; what comes after is not.",
            form=form,
            submit="End the subscription",
            back=page,
            dangerous=True,
            row=subscription,
        )
