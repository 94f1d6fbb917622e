"""Rules by which credit is topped up, in the admin: set with a reason, looked at with where they stand, retired; never edited."""

from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    OperationForm,
    StaffAdmin,
    confirm_with_reason,
    moment_column,
)
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import NOTHING, figure, link, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.top_ups.operations import RuleTerms, retire_rule, set_rule
from invoicing.top_ups.rules import NEEDS_SOMEBODY, TopUpRule

SHOWN = ("customer_link", "state_pill", "problem", "below", "buys", "valid_days", "max_per_month", "balance")
KEPT = ("seen_at", "set_at", "actor", "reason", "retired_at", "retired_by", "retired_because")


class RuleForm(OperationForm):
    """The terms of a rule, and why; what is accepted is what the operation accepts."""

    at_less_than = AmountField(
        label="Threshold",
        help_text="In the customer's currency. A live balance below it is topped up.",
    )
    worth = AmountField(
        label="Amount",
        help_text="What is sold each time; the credit is there when its invoice is paid.",
    )
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    renamed: ClassVar = {"amount": "worth", "threshold": "at_less_than"}

    class Meta:
        model = TopUpRule
        fields = ("customer", "valid_days", "max_per_month")
        labels = {"valid_days": "The credit lasts for days", "max_per_month": "At most a month"}

    def operate(self, *, actor: str) -> TopUpRule:
        """Set it."""
        fields = self.cleaned_data
        customer = fields["customer"]
        terms = RuleTerms(
            threshold=Money(fields["at_less_than"], customer.currency),
            amount=Money(fields["worth"], customer.currency),
            valid_days=fields["valid_days"],
            max_per_month=fields["max_per_month"],
        )
        key = f"rule-{uuid4().hex}"
        return set_rule(customer=customer, key=key, terms=terms, at=now(), actor=actor, reason=fields["why"])


class NeedsFilter(admin.SimpleListFilter):
    """By whether somebody has to act."""

    title = "needs"
    parameter_name = "needs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("somebody", "Needs somebody"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those that were asked for."""
        if self.value() == "somebody":
            return queryset.filter(retired_at=None, state__in=NEEDS_SOMEBODY)
        return queryset.filter(retired_at__isnull=False) if self.value() == "retired" else queryset


@admin.register(TopUpRule)
class TopUpRuleAdmin(StaffAdmin):
    """Below which balance how much credit is sold."""

    form = RuleForm
    list_display = (
        "terms",
        "customer_link",
        "state_pill",
        "problem",
        "balance",
        moment_column("seen_at", "Seen"),
    )
    list_filter = (NeedsFilter, "state", "currency")
    list_select_related = ("customer",)
    search_fields = ("key", "customer__key", "customer__name")
    autocomplete_fields = ("customer",)
    ordering = ("-id",)
    actions_detail = ("retire",)
    empty_message = (
        "A rule sells credit as soon as a customer's live balance is below a threshold; set one here or over the API."
    )

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, rule: TopUpRule) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[rule.customer_id]), rule.customer)

    @admin.display(description="Rule", ordering="threshold")
    def terms(self, rule: TopUpRule) -> str:
        """Say what it does."""
        return f"Below {money_text(rule.threshold)}, {money_text(rule.amount)} more"

    @admin.display(description="State", ordering="state")
    def state_pill(self, rule: TopUpRule) -> SafeString:
        """Show where it stands."""
        return pill("ended", why="retired") if rule.retired_at else pill(rule.state, why=rule.get_state_display())

    @admin.display(description="Below", ordering="threshold")
    def below(self, rule: TopUpRule) -> SafeString:
        """Show the threshold."""
        return figure(amount=rule.threshold.amount, currency=rule.currency)

    @admin.display(description="Sells", ordering="amount")
    def buys(self, rule: TopUpRule) -> SafeString:
        """Show what is sold each time."""
        return figure(amount=rule.amount.amount, currency=rule.currency)

    @admin.display(description="Live balance seen", ordering="seen_balance")
    def balance(self, rule: TopUpRule) -> SafeString:
        """Show what was seen last."""
        return NOTHING if rule.seen_balance is None else figure(amount=rule.seen_balance, currency=rule.currency)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask for the terms while it is set, show everything afterwards."""
        if obj is None:
            return ("customer", "at_less_than", "worth", "valid_days", "max_per_month", "why")
        return (*SHOWN, *KEPT)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what is computed."""
        return () if obj is None else ("customer_link", "state_pill", "below", "buys", "balance")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """The terms stay: other terms are another rule."""
        return False

    @action(description="Retire", url_path="retire")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then top up by it no more."""
        rule: TopUpRule = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=rule,
            permission="invoicing.change_topuprule",
            deed=lambda **who: retire_rule(rule=rule, at=now(), **who),
            done=lambda _: f"{rule.customer}'s credit is topped up no more.",
            title=f"Top up {rule.customer}'s credit no more",
            effect=f"Below {money_text(rule.threshold)} nothing is bought any more. What was bought stays; an invoice that is open stays owed.",
            submit="Retire the rule",
            dangerous=True,
        )
