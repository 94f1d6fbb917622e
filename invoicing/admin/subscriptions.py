"""Subscriptions: listed, started and ended; never edited."""

from dataclasses import replace
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from billing_site.display.admin import (
    HISTORY_LENGTH,
    OperationForm,
    ReasonForm,
    actor_of,
    add_field_errors,
    confirmation,
    go,
    history_of,
    moment_column,
)
from billing_site.display.changes import Change, changes_of, with_previous
from billing_site.display.figures import link
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.commitments import CommitmentPages, commitment_cards
from invoicing.admin.own_price import overrides_shown
from invoicing.admin.stripe_subscriptions import LinkPages
from invoicing.admin.subscription_change import ChangePages
from invoicing.admin.subscription_change_form import published_versions
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.customers.models import Customer
from invoicing.stripe_subscriptions.queries import contradiction_of
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import PriceOverride, Subscription, SubscriptionPhase
from invoicing.subscriptions.queries import held_in_advance, incomplete, phase_shown, phases_in_force, state_of
from invoicing.subscriptions.snapshot import with_phases
from invoicing.subscriptions.start import start_subscription
from invoicing.workflows.unsettled_commitments import unsettled_commitments


class StartForm(OperationForm):
    """What a subscription needs to start."""

    reason = forms.CharField(max_length=300, widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    plan_version = forms.ModelChoiceField(queryset=PlanVersion.objects.none(), widget=UnfoldAdminSelectWidget())
    quantity = forms.IntegerField(
        initial=1, min_value=1, widget=UnfoldAdminIntegerFieldWidget(), help_text="Seats: flat fees count so often."
    )
    parent = forms.ModelChoiceField(
        queryset=Subscription.objects.none(),
        required=False,
        label="Added to",
        widget=UnfoldAdminSelectWidget(),
        help_text="Only for an add-on: it follows the periods, the trial and the pauses of that subscription, and ends with it.",
    )
    trial_ends_at = forms.SplitDateTimeField(
        required=False,
        label="Trial ends at (UTC)",
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Empty: it is charged from the start. Nothing is charged in a trial.",
    )

    renamed: ClassVar = {"plan": "plan_version"}

    class Meta:
        model = Subscription
        fields = ("key", "customer", "started_at", "anchor")
        labels: ClassVar = {"started_at": "Started at (UTC)"}
        help_texts: ClassVar = {
            "started_at": "In UTC, whatever the customer's zone: midnight of 1 November in Berlin is 23:00 of 31 October."
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        """Offer published versions, the newest of each plan first, and what an add-on can be added to."""
        super().__init__(*args, **options)
        chosen = str(self.data.get("customer") or self.initial.get("customer") or "")
        parents = Subscription.objects.filter(parent__isnull=True, customer=int(chosen) if chosen.isdecimal() else None)
        self.fields["parent"].queryset = parents.order_by("key")  # type: ignore[attr-defined]
        self.fields["plan_version"].queryset = published_versions()  # type: ignore[attr-defined]

    def operate(self, *, actor: str) -> Subscription:
        """Start it."""
        fields = self.cleaned_data
        return start_subscription(
            key=fields["key"],
            customer=fields["customer"],
            plan_version=fields["plan_version"],
            started_at=fields["started_at"],
            anchor=fields["anchor"],
            quantity=fields["quantity"],
            trial_ends_at=fields["trial_ends_at"],
            parent=fields["parent"],
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


class PlanFilter(admin.SimpleListFilter):
    """By the plan that is in force now."""

    title = "plan in force"
    parameter_name = "plan"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the plans."""
        return [(str(plan.pk), plan.name) for plan in Plan.objects.order_by("name")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the subscriptions on any version of the plan."""
        return _in_force(queryset, self.value(), "plan_version__plan")


class VersionFilter(admin.SimpleListFilter):
    """By the plan version that is in force now."""

    title = "version in force"
    parameter_name = "version"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the versions of the chosen plan, or all published ones."""
        versions = published_versions()
        plan = request.GET.get("plan", "")
        chosen = versions.filter(plan=int(plan)) if plan.isdecimal() else versions
        return [(str(version.pk), str(version)) for version in chosen]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the subscriptions on this version."""
        return _in_force(queryset, self.value(), "plan_version")


def _in_force(queryset: QuerySet[Any], value: str | None, column: str) -> QuerySet[Any]:
    if not value:
        return queryset
    if not value.isdecimal():
        return queryset.none()
    return queryset.filter(phases__in=phases_in_force(at=now()).filter(**{column: int(value)}))


class InForceFilter(admin.SimpleListFilter):
    """By whether a subscription is in force now."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states; a running one may be in its trial, paused or incomplete."""
        return [
            ("running", "Running"),
            ("trial", "In its trial"),
            ("incomplete", "Trial over, no means of payment"),
            ("unsettled", "Commitment over, no invoice to come"),
            ("paused", "Paused"),
            ("planned", "Planned"),
            ("ended", "Ended"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the subscriptions in the chosen state."""
        at = now()
        match self.value():
            case "running":
                return queryset.filter(Q(ended_at__isnull=True) | Q(ended_at__gt=at), started_at__lte=at)
            case "trial" | "paused" as kind:
                return queryset.filter(phases__in=phases_in_force(at=at).filter(kind=kind))
            case "incomplete":
                return queryset.filter(pk__in=incomplete(at=at))
            case "unsettled":
                unsettled = unsettled_commitments(at=at)
                return queryset.filter(pk__in=[tranche.subscription_id for tranche in unsettled])
            case "planned":
                return queryset.filter(started_at__gt=at)
            case "ended":
                return queryset.filter(ended_at__lte=at)
        return queryset


@admin.register(Subscription)
class SubscriptionAdmin(ChangePages, CommitmentPages, LinkPages):
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
    list_filter = (InForceFilter, PlanFilter, VersionFilter, "anchor")
    search_fields = ("key", "customer__key", "customer__name")
    autocomplete_fields = ("customer",)
    ordering = ("-started_at", "-id")
    fields = (
        "key",
        "customer",
        "parent",
        "plan_version",
        "quantity",
        "started_at",
        "trial_ends_at",
        "anchor",
        "reason",
    )
    add_title = "Start a subscription"
    add_words = (
        "A plan is in force for the customer from its start on, and charged by the billing run after each period."
    )
    empty_message = "A subscription puts a plan in force for a customer; start one here or over the API."

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, subscription: Subscription) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[subscription.customer_id]), subscription.customer)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read the phases with the list."""
        return with_phases(super().get_queryset(request))

    @admin.display(description="Plan")
    def plan(self, subscription: Subscription) -> SafeString:
        """Link to the plan version."""
        version = phase_shown(subscription=subscription, at=now()).plan_version
        return link(reverse("admin:invoicing_planversion_change", args=[version.pk]), version)

    @admin.display(description="State")
    def state(self, subscription: Subscription) -> SafeString:
        """Show whether it is in force."""
        return pill(state_of(subscription=subscription, at=now()))

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
            state=state_of(subscription=subscription, at=at),
            phase=phase_shown(subscription=subscription, at=at),
            phases=list(subscription.phases.all()),
            at_stripe=subscription.at_stripe.filter(unlinked_at=None).first(),
            contradiction=contradiction_of(subscription=subscription),
            overrides=overrides_shown(subscription=subscription),
            commitments=commitment_cards(subscription=subscription, at=at),
            held=held_in_advance(subscriptions=[subscription]).get(subscription.pk),
            add_ons=[
                (add_on, phase_shown(subscription=add_on, at=at), state_of(subscription=add_on, at=at))
                for add_on in with_phases(subscription.add_ons.all()).order_by("started_at", "id")
            ],
            may_add=subscription.parent_id is None
            and subscription.ended_at is None
            and request.user.has_perm("invoicing.add_subscription"),
            may_change=request.user.has_perm("invoicing.change_subscription"),
            may_end=subscription.ended_at is None and request.user.has_perm("invoicing.change_subscription"),
            invoices=list(
                subscription.invoice_lines.select_related("invoice").order_by("-invoice__period_end", "position")[:50]
            ),
            changes=_changes(subscription),
        )
        return TemplateResponse(request, "backoffice/subscription.html", context)

    actions_detail = ("change_terms", "commit", "link_to_stripe", "end")

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
            effect=f"{phase_shown(subscription=subscription, at=now()).plan_version} ends for {subscription.customer}. "
            "What was used before the end is still billed; what comes after is not.",
            form=form,
            submit="End the subscription",
            back=page,
            dangerous=True,
            row=subscription,
        )


def _changes(subscription: Subscription) -> list[Change]:
    """Return the history of a subscription, its phases and its own prices, newest first; phases that a change adds speak by those it cuts."""
    history = SubscriptionPhase.history.filter(subscription=subscription).exclude(history_type="+")  # type: ignore[attr-defined]
    of_phases = changes_of(rows=with_previous(history=history.order_by("-history_id"))[:HISTORY_LENGTH])
    own = PriceOverride.history.filter(customer=subscription.customer_id)  # type: ignore[attr-defined]
    own = own.filter(Q(subscription=None) | Q(subscription=subscription)).order_by("-history_id")
    of_prices = [
        replace(change, verb=f"price of its own {change.verb}")
        for change in changes_of(rows=with_previous(history=own)[:HISTORY_LENGTH])
    ]
    return sorted([*history_of(subscription), *of_phases, *of_prices], key=lambda change: change.at, reverse=True)[
        :HISTORY_LENGTH
    ]
