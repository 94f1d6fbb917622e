"""Thresholds of progressive invoices, in the admin: set with a reason, looked at with what was seen last, retired; never edited."""

from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import OperationForm, StaffAdmin, confirm_with_reason, moment_column
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import NOTHING, figure, link, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.progressive.operations import retire_threshold, set_threshold

SHOWN = ("customer_link", "state", "from_amount", "each_step", "open_amount", "problem", "made")
KEPT = ("seen_at", "set_at", "actor", "reason", "retired_at", "retired_by", "retired_because")


class ThresholdForm(OperationForm):
    """The terms of a threshold, and why; what is accepted is what the operation accepts."""

    reached = AmountField(
        label="Amount",
        help_text="In the customer's currency, before tax. Usage of a running period that comes to it is invoiced at once.",
    )
    further = AmountField(
        label="And each further",
        required=False,
        help_text="After so much more it is invoiced again. Empty: once a period.",
    )
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    renamed: ClassVar = {"amount": "reached", "step": "further"}

    class Meta:
        model = ProgressiveThreshold
        fields = ("customer",)

    def operate(self, *, actor: str) -> ProgressiveThreshold:
        """Set it."""
        fields = self.cleaned_data
        customer, further = fields["customer"], fields["further"]
        return set_threshold(
            customer=customer,
            key=f"threshold-{uuid4().hex}",
            amount=Money(fields["reached"], customer.currency),
            step=None if further is None else Money(further, customer.currency),
            at=now(),
            actor=actor,
            reason=fields["why"],
        )


class StateFilter(admin.SimpleListFilter):
    """By whether a threshold is in force, or somebody has to act."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("in_force", "In force"), ("problem", "Needs somebody"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those that were asked for."""
        match self.value():
            case "in_force":
                return queryset.filter(retired_at=None)
            case "problem":
                return queryset.filter(retired_at=None).exclude(problem="")
            case "retired":
                return queryset.filter(retired_at__isnull=False)
        return queryset


@admin.register(ProgressiveThreshold)
class ProgressiveThresholdAdmin(StaffAdmin):
    """From which amount on usage is invoiced while its period runs."""

    form = ThresholdForm
    list_display = ("terms", "customer_link", "state", "open_amount", "problem", moment_column("seen_at", "Seen"))
    list_filter = (StateFilter, "currency")
    list_select_related = ("customer",)
    search_fields = ("key", "customer__key", "customer__name")
    autocomplete_fields = ("customer",)
    ordering = ("-id",)
    actions_detail = ("retire",)
    empty_message = "A threshold invoices usage as soon as it comes to an amount; the period's invoice takes that off. Set one here or over the API."

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, threshold: ProgressiveThreshold) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[threshold.customer_id]), threshold.customer)

    @admin.display(description="Threshold", ordering="amount")
    def terms(self, threshold: ProgressiveThreshold) -> str:
        """Say what it does."""
        told = f"From {money_text(threshold.amount)} on"
        return told if threshold.step is None else f"{told}, then each {money_text(threshold.step)}"

    @admin.display(description="State")
    def state(self, threshold: ProgressiveThreshold) -> SafeString:
        """Show whether it is in force."""
        return pill("ended", why="retired") if threshold.retired_at else pill("active", why=threshold.problem)

    @admin.display(description="From", ordering="amount")
    def from_amount(self, threshold: ProgressiveThreshold) -> SafeString:
        """Show the amount."""
        return figure(amount=threshold.amount.amount, currency=threshold.currency)

    @admin.display(description="And each further")
    def each_step(self, threshold: ProgressiveThreshold) -> SafeString:
        """Show the step."""
        return NOTHING if threshold.step is None else figure(amount=threshold.step.amount, currency=threshold.currency)

    @admin.display(description="Used and not invoiced", ordering="seen_amount")
    def open_amount(self, threshold: ProgressiveThreshold) -> SafeString:
        """Show what was seen last."""
        if threshold.seen_amount is None:
            return NOTHING
        return figure(amount=threshold.seen_amount, currency=threshold.currency)

    @admin.display(description="Progressive invoices")
    def made(self, threshold: ProgressiveThreshold) -> SafeString:
        """Link to what it made, newest first."""
        rows = threshold.invoices.select_related("invoice").order_by("-id")[:20]
        links = [(link(reverse("admin:invoicing_invoice_change", args=[row.invoice_id]), row.invoice),) for row in rows]
        return format_html_join(", ", "{}", links) if links else NOTHING

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask for the terms while it is set, show everything afterwards."""
        return ("customer", "reached", "further", "why") if obj is None else (*SHOWN, *KEPT)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what is computed."""
        return () if obj is None else tuple(name for name in SHOWN if name != "problem")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """The terms stay: other terms are another threshold."""
        return False

    @action(description="Retire", url_path="retire")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then invoice by it no more."""
        threshold: ProgressiveThreshold = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=threshold,
            permission="invoicing.change_progressivethreshold",
            deed=lambda **who: retire_threshold(threshold=threshold, at=now(), **who),
            done=lambda _: f"{threshold.customer} is invoiced when the period is over.",
            title=f"Invoice {threshold.customer} before the period ends no more",
            effect="What was invoiced stays, and the invoice of the period takes it off. From now on usage waits for the end of its period.",
            submit="Retire the threshold",
            dangerous=True,
        )
