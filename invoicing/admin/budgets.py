"""Budgets, limits and what was noticed: set with a reason, retired with a reason, looked at beside the spend."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import figure, figure_text, link, moment, money_text, period
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.spend_words import notice_text
from invoicing.core.spend import THRESHOLDS
from invoicing.customers.models import Customer
from invoicing.spend.models import AtLimit, Budget, SpendNotice, SpendWatch
from invoicing.spend.operations import CHANGEABLE, amount_of, retire_budget
from invoicing.spend.queries import stopped_watches
from invoicing.workflows.watch_spend import change_watched_budget, set_watched_budget


class PercentsField(forms.CharField):
    """Thresholds as people write them: 50, 80, 100."""

    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        """Write the numbers."""
        return ", ".join(str(one) for one in value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        """Read whole numbers parted by commas or blanks."""
        words = str(super().to_python(value) or "").replace("%", " ").replace(",", " ").split()
        if any(not word.isascii() or not word.isdecimal() or len(word) > 4 for word in words):
            raise forms.ValidationError("Write whole percents, parted by commas: 50, 80, 100.")
        return [int(word) for word in words]


class BudgetForm(forms.ModelForm):
    """A budget and the reason; what is accepted is what the operation accepts."""

    amount = forms.CharField(
        widget=UnfoldAdminDecimalFieldWidget, help_text="For each billing period, in the currency."
    )
    currency = forms.CharField(
        widget=UnfoldAdminTextInputWidget,
        max_length=3,
        required=False,
        help_text="Of a default; a customer's budget is in its own currency.",
    )
    thresholds = PercentsField(
        required=False, initial=list(THRESHOLDS), help_text="Percent of the amount at which the spend so far is told."
    )
    projected_thresholds = PercentsField(
        required=False,
        label="Thresholds of the forecast",
        help_text="Percent of the amount at which the spend expected of the whole period is told.",
    )
    at_limit = forms.ChoiceField(
        choices=AtLimit.choices,
        widget=UnfoldAdminSelectWidget,
        label="At the whole amount",
        help_text="Access is refused until the period ends, or the amount is raised.",
    )
    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    class Meta:
        model = Budget
        fields = ("customer", "name")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk:
            self.initial.update({name: getattr(self.instance, name) for name in CHANGEABLE})
            self.initial["amount"] = figure_text(self.instance.amount.amount, self.instance.currency).replace(",", "")

    def clean(self) -> dict[str, Any]:
        """Try the operation itself and take it back, so that what it refuses is told at its field."""
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            cleaned["amount"] = self._money(cleaned)
            with transaction.atomic():
                self.keep(actor="form")
                transaction.set_rollback(True)
        except BillingError as problem:
            add_field_errors(self, problem, renamed={"customer_id": "customer"})
        return cleaned

    def _post_clean(self) -> None:
        """Leave the row alone: only the operation writes it."""

    def keep(self, *, actor: str) -> Budget:
        """Set or change the budget through the operation."""
        fields = {name: self.cleaned_data[name] for name in CHANGEABLE}
        reason = self.cleaned_data["reason"]
        if self.instance.pk:
            budget = Budget.objects.get(pk=self.instance.pk)
            return change_watched_budget(budget=budget, changes=fields, at=now(), actor=actor, reason=reason)
        return set_watched_budget(
            customer=self.cleaned_data["customer"], at=now(), actor=actor, reason=reason, **fields
        )

    def _money(self, cleaned: dict[str, Any]) -> Money:
        customer: Customer | None = cleaned.get("customer") or self.instance.customer
        currency = self.instance.currency or (customer.currency if customer else cleaned.get("currency", ""))
        return amount_of(text=cleaned["amount"], currency=currency)


class StateFilter(admin.SimpleListFilter):
    """By whether a budget is watched, and whether it stops."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("active", "Watched"), ("default", "Default of all"), ("retired", "Retired")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the budgets in the chosen state."""
        match self.value():
            case "active":
                return queryset.filter(retired_at__isnull=True)
            case "default":
                return queryset.filter(retired_at__isnull=True, customer__isnull=True)
            case "retired":
                return queryset.filter(retired_at__isnull=False)
        return queryset


@admin.register(Budget)
class BudgetAdmin(TrackedAdmin):
    """Amounts that each billing period of a customer is compared with."""

    form = BudgetForm
    list_display = ("name", "whose", "figure_of", "told_at", "at_limit", "set_by", "state")
    list_filter = (StateFilter, "at_limit", "set_by", "currency")
    search_fields = ("key", "name", "customer__key", "customer__name")
    list_select_related = ("customer",)
    autocomplete_fields = ("customer",)
    ordering = ("-id",)
    actions_detail = ("retire",)
    fields = (
        "customer",
        "name",
        "currency",
        "amount",
        "thresholds",
        "projected_thresholds",
        "at_limit",
        "reason",
    )
    add_title = "Set a budget or a limit"
    add_words = "The spend of each billing period is compared with it: at its thresholds somebody is told, at the whole amount access can stop."
    empty_message = (
        "A budget says at which part of an amount a customer's spend is told, and whether it stops. Set one for a customer,"
        " or one for all of a currency."
    )

    @admin.display(description="Customer", ordering="customer__name")
    def whose(self, budget: Budget) -> SafeString | str:
        """Link to the customer, or say that it is the default."""
        if budget.customer is None:
            return f"all in {budget.currency} without one of their own"
        return link(reverse("admin:invoicing_customer_change", args=[budget.customer_id]), budget.customer)

    @admin.display(description="Amount a period", ordering="amount")
    def figure_of(self, budget: Budget) -> SafeString:
        """Show the amount."""
        return figure(amount=budget.amount.amount, currency=budget.currency)

    @admin.display(description="Told at")
    def told_at(self, budget: Budget) -> str:
        """Show the thresholds."""
        parts = [f"{one} %" for one in budget.thresholds] + [f"{one} % forecast" for one in budget.projected_thresholds]
        return ", ".join(parts) or "–"

    @admin.display(description="State")
    def state(self, budget: Budget) -> SafeString:
        """Show whether it is watched."""
        return pill("ended", why="retired") if budget.retired_at else pill("active")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Keep whose it is and its currency."""
        return ("customer", "currency") if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """What is retired stays as it was."""
        if isinstance(obj, Budget) and obj.retired_at is not None:
            return False
        return super().has_change_permission(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Set or change it through the operation, with actor and reason."""
        obj.pk = form.keep(actor=actor_of(request)).pk
        obj.refresh_from_db()

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the customer's page, where the budget stands beside the spend; on the list for a default."""
        if obj.customer_id:
            return go(reverse("admin:invoicing_customer_change", args=[obj.customer_id]) + "#spend")
        return go(reverse("admin:invoicing_budget_changelist"))

    response_post_save_change = response_post_save_add

    @action(description="Retire the budget", url_path="retire")
    def retire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then watch by it no more."""
        budget: Budget = self.row_or_404(request, object_id)
        if not request.user.has_perm("invoicing.change_budget"):
            raise PermissionDenied
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            retire_budget(budget=budget, at=now(), actor=actor_of(request), reason=form.cleaned_data["reason"])
            self.message_user(request, f"{budget.name} is watched no more.")
            return self.response_post_save_add(request, budget)
        whose = budget.customer or f"all customers in {budget.currency} without a budget of their own"
        return confirmation(
            request,
            admin=self,
            title=f"Retire {budget.name}",
            effect=f"{money_text(budget.amount)} a period for {whose} is not watched any more"
            + (", and stops nobody." if budget.at_limit == AtLimit.STOP else ".")
            + " What it noticed stays.",
            form=form,
            submit="Retire the budget",
            back=reverse("admin:invoicing_budget_change", args=[budget.pk]),
            dangerous=True,
            row=budget,
        )


@admin.register(SpendNotice)
class SpendNoticeAdmin(ReadOnlyAdmin):
    """What was told about spend: once for each threshold and period."""

    list_display = ("what", "customer_link", "spend_figure", "of", "days", moment_column("noticed_at", "Noticed"))
    fields = ("what", "customer_link", "spend_figure", "of", "days", "noticed")
    list_filter = ("kind", "basis", "threshold", "currency")
    search_fields = ("customer__key", "customer__name", "budget__name")
    list_select_related = ("customer", "budget")
    ordering = ("-id",)
    empty_message = (
        "When a customer's spend reaches part of a budget, or charges will be invoiced soon, it stands here."
    )

    @admin.display(description="What")
    def what(self, notice: SpendNotice) -> str:
        """Say what was reached."""
        return notice_text(notice)

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, notice: SpendNotice) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[notice.customer_id]) + "#spend", notice.customer)

    @admin.display(description="Spend then", ordering="spend")
    def spend_figure(self, notice: SpendNotice) -> SafeString:
        """Show what was compared."""
        return figure(amount=notice.spend.amount, currency=notice.currency)

    @admin.display(description="Of", ordering="amount")
    def of(self, notice: SpendNotice) -> SafeString | str:
        """Show the budget's amount then."""
        return "–" if notice.amount is None else figure(amount=notice.amount.amount, currency=notice.currency)

    @admin.display(description="Billing period", ordering="period_end")
    def days(self, notice: SpendNotice) -> SafeString:
        """Show the days of the period where the customer is."""
        return period(start=notice.period_start, end=notice.period_end, timezone=notice.customer.timezone)

    @admin.display(description="Noticed")
    def noticed(self, notice: SpendNotice) -> SafeString:
        """Show when it was told."""
        return moment(notice.noticed_at)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields


class StoppedFilter(admin.SimpleListFilter):
    """By whether a limit stops the customer now."""

    title = "access"
    parameter_name = "access"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("stopped", "Stopped by a limit now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those whose access a limit refuses."""
        if self.value() != "stopped":
            return queryset
        return queryset.filter(pk__in=stopped_watches(at=now()).values("pk"))


@admin.register(SpendWatch)
class SpendWatchAdmin(ReadOnlyAdmin):
    """What running periods were seen to cost when they were last looked at."""

    list_display = ("customer_link", "spend_figure", "days", "state", moment_column("looked_at", "Looked at"))
    list_filter = (StoppedFilter, "currency")
    search_fields = ("customer__key", "customer__name")
    list_select_related = ("customer",)
    ordering = ("-period_end", "-spend", "id")
    empty_message = "The sweep looks at every running period; what each has cost so far stands here."

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, watch: SpendWatch) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[watch.customer_id]) + "#spend", watch.customer)

    @admin.display(description="Spend", ordering="spend")
    def spend_figure(self, watch: SpendWatch) -> SafeString:
        """Show what it came to."""
        return figure(amount=watch.spend.amount, currency=watch.currency)

    @admin.display(description="Billing period", ordering="period_end")
    def days(self, watch: SpendWatch) -> SafeString:
        """Show the days of the period where the customer is."""
        return period(start=watch.period_start, end=watch.period_end, timezone=watch.customer.timezone)

    @admin.display(description="State")
    def state(self, watch: SpendWatch) -> SafeString:
        """Show whether it could be computed."""
        return pill("failed", why=watch.problem) if watch.problem else pill("ok")
