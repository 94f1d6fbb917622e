"""Subscriptions that stand for one at Stripe, in the admin: linked with a reason, compared, unlinked; and where the two contradict each other."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, Model, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextInputWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    StaffAdmin,
    TrackedAdmin,
    actor_of,
    add_field_errors,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import NOTHING, link
from billing_site.display.pills import GREEN, pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.payments.hurry import somebody_waits
from invoicing.stripe_subscriptions.models import StripeSubscription, SubscriptionMismatch
from invoicing.stripe_subscriptions.operations import unlink
from invoicing.subscriptions.models import Subscription
from invoicing.workflows.follow_subscription import link_to_stripe, look_at_subscription

PERMISSION = "invoicing.change_subscription"


class LinkForm(ReasonForm):
    """Which subscription at Stripe it is, and why."""

    field_order = ("stripe_id", "reason")
    stripe_id = forms.CharField(
        max_length=100,
        label="Subscription at Stripe",
        widget=UnfoldAdminTextInputWidget(),
        help_text="Its id there: sub_...",
    )


class LinkPages(StaffAdmin):
    """The page of a subscription from which it is linked to Stripe."""

    @action(description="Link to Stripe", url_path="link-to-stripe")
    def link_to_stripe(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask which one and why, then link and compare."""
        subscription: Subscription = self.row_or_404(request, object_id)
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        page = reverse("admin:invoicing_subscription_change", args=[subscription.pk])
        form = LinkForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with somebody_waits():
                    made = link_to_stripe(
                        subscription=subscription,
                        stripe_id=form.cleaned_data["stripe_id"].strip(),
                        at=now(),
                        actor=actor_of(request),
                        reason=form.cleaned_data["reason"],
                    )
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                self.message_user(request, f"{subscription} stands for {made} at Stripe from now on.")
                return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Link {subscription} to Stripe",
            effect="From now on what Stripe says of that subscription is compared with this one, at its news and every day. Nothing here or there is changed by it; "
            "where the two cannot both be right, staff are told.",
            form=form,
            submit="Link it",
            back=page,
            row=subscription,
        )


class StateFilter(admin.SimpleListFilter):
    """By whether the two contradict each other."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the three."""
        return [("contradicts", "Contradicting"), ("agrees", "Agreeing"), ("unlinked", "Unlinked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        if self.value() == "unlinked":
            return queryset.exclude(unlinked_at=None)
        if self.value() in ("contradicts", "agrees"):
            return queryset.filter(unlinked_at=None, is_contradicting=self.value() == "contradicts")
        return queryset


@admin.register(StripeSubscription)
class StripeSubscriptionAdmin(TrackedAdmin):
    """Which subscription here stands for which at Stripe."""

    list_display = (
        "stripe_id",
        "state",
        "there",
        "subscription_page",
        "customer_page",
        moment_column("seen_at", "Compared"),
    )
    list_filter = (StateFilter, "status")
    list_select_related = ("subscription__customer",)
    search_fields = ("stripe_id", "stripe_customer_id", "subscription__key", "subscription__customer__name")
    ordering = ("-id",)
    fields = (
        "stripe_id",
        "state",
        "there",
        "status_since",
        "seen_at",
        "stripe_customer_id",
        "subscription_page",
        "customer_page",
        "contradictions",
        "created_at",
        "unlinked_at",
    )
    readonly_fields = fields
    actions_detail = ("look", "unlink")
    empty_message = "A subscription that Stripe keeps, too, is linked to it on its own page; from then on the two are compared here."

    def has_add_permission(self, request: HttpRequest) -> bool:
        """One is linked on the page of its subscription."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """It is unlinked, never edited."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Say of each whether something contradicts."""
        found = SubscriptionMismatch.objects.filter(link=OuterRef("pk"), closed_at=None)
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(is_contradicting=Exists(found))

    @admin.display(description="State")
    def state(self, row: Any) -> SafeString:
        """Show whether the two can both be right."""
        if row.unlinked_at is not None:
            return pill("unlinked")
        return pill("contradicts" if row.is_contradicting else "agrees")

    @admin.display(description="State at Stripe", ordering="status")
    def there(self, row: StripeSubscription) -> SafeString:
        """Show what Stripe said last."""
        return pill(row.status_words)

    @admin.display(description="Subscription here", ordering="subscription__key")
    def subscription_page(self, row: StripeSubscription) -> SafeString:
        """Link to the subscription."""
        return link(reverse("admin:invoicing_subscription_change", args=[row.subscription_id]), row.subscription)

    @admin.display(description="Customer")
    def customer_page(self, row: StripeSubscription) -> SafeString:
        """Link to the customer."""
        customer = row.subscription.customer
        return link(reverse("admin:invoicing_customer_change", args=[customer.pk]), customer)

    @admin.display(description="Contradictions")
    def contradictions(self, row: StripeSubscription) -> SafeString:
        """Lead to what was found."""
        count = row.mismatches.count()
        if not count:
            return NOTHING
        return link(reverse("admin:invoicing_subscriptionmismatch_changelist") + f"?link__id__exact={row.pk}", count)

    @action(description="Compare now", url_path="look")
    def look(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask Stripe and compare."""
        if not request.user.has_perm(PERMISSION):
            raise PermissionDenied
        row: StripeSubscription = self.row_or_404(request, object_id)
        page = reverse("admin:invoicing_stripesubscription_change", args=[row.pk])
        if request.method == "POST":
            with somebody_waits():
                attempt(
                    request,
                    lambda: look_at_subscription(link_id=row.pk, at=now()),
                    done=lambda outcome: f"Compared. {outcome[0].upper()}{outcome[1:]}",
                )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Compare {row} now",
            effect=f"Stripe is asked how {row} is now, and that is compared with {row.subscription}. What contradicts is told, what is gone is closed.",
            form=forms.Form(),
            submit="Compare",
            back=page,
            row=row,
        )

    @action(description="Unlink", url_path="unlink")
    def unlink(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then compare the two no more."""
        row: StripeSubscription = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=row,
            permission=PERMISSION,
            deed=lambda **who: unlink(link_id=row.pk, at=now(), **who),
            done=lambda done: f"{done.subscription} and {done} are compared no more.",
            title=f"Unlink {row}",
            effect=f"{row.subscription} and {row} are compared no more; what contradicts is closed. Nothing at Stripe changes.",
            submit="Unlink",
        )


class OpenFilter(admin.SimpleListFilter):
    """By whether it is gone."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two."""
        return [("open", "To look at"), ("closed", "Gone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those in the chosen state."""
        if self.value() not in ("open", "closed"):
            return queryset
        return queryset.filter(closed_at__isnull=self.value() == "open")


@admin.register(SubscriptionMismatch)
class SubscriptionMismatchAdmin(ReadOnlyAdmin):
    """Where a subscription here and the one at Stripe cannot both be right."""

    list_display = ("message", "state", "subscription_page", moment_column("opened_at", "Found"), "link_page")
    list_filter = (OpenFilter, "there")
    list_select_related = ("link__subscription__customer",)
    search_fields = ("link__stripe_id", "link__subscription__key", "link__subscription__customer__name", "message")
    ordering = ("-id",)
    fields = (
        "link_page",
        "state",
        "here",
        "there",
        "message",
        "subscription_page",
        "opened_at",
        "closed_at",
        "closed_by",
        "closed_because",
    )
    readonly_fields = fields
    empty_message = "Where a subscription is otherwise at Stripe than here, it stands here from the news or the daily comparison until both agree."

    @admin.display(description="State", ordering="closed_at")
    def state(self, row: SubscriptionMismatch) -> SafeString:
        """Show whether it is gone, and by what."""
        return pill("to look at") if row.closed_at is None else pill("done", tone=GREEN, why=row.closed_because)

    @admin.display(description="At Stripe")
    def link_page(self, row: SubscriptionMismatch) -> SafeString:
        """Link to the link."""
        return link(reverse("admin:invoicing_stripesubscription_change", args=[row.link_id]), row.link)

    @admin.display(description="Subscription here")
    def subscription_page(self, row: SubscriptionMismatch) -> SafeString:
        """Link to the subscription."""
        subscription = row.link.subscription
        return link(reverse("admin:invoicing_subscription_change", args=[subscription.pk]), subscription)
