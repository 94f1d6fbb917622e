"""Other packages' admins in our clothes: their forms show their inputs, and what nobody needs here is hidden."""

import json
from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_q.admin import FailAdmin, QueueAdmin, ScheduleAdmin, TaskAdmin
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from djstripe import models as stripe_mirror
from moneyed import Money
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from billing_site.display.admin import ReadOnlyAdmin, StaffAdmin, moment_column
from billing_site.display.figures import NOTHING, link, moment, money, money_text
from billing_site.display.pills import pill
from invoicing.payments.minor_units import from_stripe_minor_units
from invoicing.payments.models import PushIntent, StripeCustomer
from invoicing.stripe_subscriptions.models import StripeSubscription

# Mirrored objects of Stripe that help to find out what Stripe knows; the other fifty are hidden.
MIRRORED = (
    "Customer",
    "Invoice",
    "Subscription",
    "Price",
    "PaymentIntent",
    "Charge",
    "PaymentMethod",
    "Dispute",
    "BalanceTransaction",
)
# Where an object of Stripe's says how much it is about, by its kind.
AMOUNTS = ("total", "amount", "unit_amount")
CREATED = moment_column("created", "Created")
# Who sees Stripe's notices sees what they brought.
MIRROR_PERMISSION = "invoicing.view_stripenotice"

for model in list(admin.site._registry):
    if model._meta.app_label in ("djstripe", "django_q") or model in (User, Group):
        admin.site.unregister(model)


@admin.register(User)
class PersonAdmin(UserAdmin, StaffAdmin):
    """People who sign in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class RoleAdmin(GroupAdmin, ModelAdmin):
    """Roles and what they may do."""


class MirrorAdmin(ReadOnlyAdmin):
    """An object as Stripe last told it; never edited here."""

    list_display = ("name_told", "amount_told", "status_told", "id", CREATED, "mode")
    list_display_links = ("name_told",)
    search_fields = ("id",)
    ordering = ("-created",)
    fields = ("id", "here", "amount_told", "status_told", CREATED, "mode", "stripe_text")
    readonly_fields = fields
    empty_message = "Stripe's notices bring its objects here."

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let those look who see Stripe's notices."""
        return bool(request.user.has_perm(MIRROR_PERMISSION))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Say so of the whole mirror."""
        return bool(request.user.has_perm(MIRROR_PERMISSION))

    @admin.display(description="Here")
    def here(self, row: Any) -> SafeString:
        """Lead to what stands for it here."""
        found = ours_of(stripe_id=row.id, owner=getattr(row, "customer_id", None))
        return link(*found) if found else NOTHING

    @admin.display(description="Name")
    def name_told(self, row: Any) -> str:
        """Show by what people know it."""
        return name_in(row.stripe_data or {}) or row.id

    @admin.display(description="Amount")
    def amount_told(self, row: Any) -> SafeString:
        """Show how much it is about."""
        told = amount_in(row.stripe_data or {})
        return NOTHING if told is None else money(told)

    @admin.display(description="State")
    def status_told(self, row: Any) -> str | SafeString:
        """Show Stripe's word for how far it is."""
        return str((row.stripe_data or {}).get("status") or "").replace("_", " ") or NOTHING

    @admin.display(description="Mode", ordering="livemode")
    def mode(self, row: Any) -> str:
        """Say whether it is about real money."""
        return {True: "live", False: "test"}.get(row.livemode, "not told")

    @admin.display(description="As Stripe told it")
    def stripe_text(self, row: Any) -> SafeString:
        """Show the stored object, once asked for."""
        told = json.dumps(row.stripe_data, indent=2, ensure_ascii=False)
        return format_html('<details><summary>All of it</summary><pre class="bo-code">{}</pre></details>', told)


def name_in(told: Mapping[str, Any]) -> str:
    """Return what an object of Stripe's is called for people: its number, its name or its card; "" where it has none of them."""
    if card := told.get("card"):
        return f"{str(card.get('brand', 'card')).replace('_', ' ').title()} ending in {card.get('last4', '')}"
    return str(told.get("number") or told.get("name") or "")


def amount_in(told: Mapping[str, Any]) -> Money | None:
    """Return how much an object of Stripe's is about; None where it says nothing of it."""
    units, currency = next((told[key] for key in AMOUNTS if told.get(key) is not None), None), told.get("currency")
    return from_stripe_minor_units(units, currency.upper()) if isinstance(units, int) and currency else None


def title_of(row: Any) -> str:
    """Return what the page of a mirrored object is called: dj-stripe's own writes 19.99 as $1,999.00."""
    told = row.stripe_data or {}
    amount = amount_in(told)
    return ", ".join(filter(None, (name_in(told) or row.id, money_text(amount) if amount else "")))


def ours_of(*, stripe_id: str, owner: str | None) -> tuple[str, object] | None:
    """Return the page and the name of what an object of Stripe's is here: its invoice or subscription, else the customer whose it is; None for nobody's."""
    push = PushIntent.objects.filter(stripe_invoice_id=stripe_id).select_related("invoice").first()
    if push is not None:
        return reverse("admin:invoicing_invoice_change", args=[push.invoice_id]), push.invoice
    linked = StripeSubscription.objects.filter(stripe_id=stripe_id).select_related("subscription").last()
    if linked is not None:
        return reverse("admin:invoicing_subscription_change", args=[linked.subscription_id]), linked.subscription
    known = StripeCustomer.objects.filter(stripe_id__in=(stripe_id, owner or stripe_id)).select_related("customer")
    if (found := known.first()) is not None:
        return reverse("admin:invoicing_customer_change", args=[found.customer_id]), found.customer
    return None


apps.get_app_config("djstripe").verbose_name = "Stripe's mirror"
for name in MIRRORED:
    mirrored: Any = getattr(stripe_mirror, name)
    mirrored.__str__ = title_of
    admin.site.register(mirrored, type(f"{name}Admin", (MirrorAdmin,), {}))


@admin.register(OrmQ)
class WaitingJobAdmin(QueueAdmin, ReadOnlyAdmin):
    """Jobs that wait or run."""

    empty_message = "No job waits: the worker has taken them all."


@admin.register(Success)
class DoneJobAdmin(TaskAdmin, ReadOnlyAdmin):
    """Jobs that ended well."""

    empty_message = "Jobs that ended well stand here for a while."


@admin.register(Failure)
class FailedJobAdmin(FailAdmin, ReadOnlyAdmin):
    """Jobs that failed; they may be queued again."""

    empty_message = "No job has failed."


@admin.register(Schedule)
class JobScheduleAdmin(ScheduleAdmin, ReadOnlyAdmin):
    """What runs when; the tables of RegularJob in the code decide, so it is read-only."""

    list_display = ("name", "func", "next", "last", "outcome")
    list_display_links = ("name",)
    list_filter = ()
    ordering = ("next_run",)
    empty_message = "`manage.py serve` puts the regular jobs here."

    @admin.display(description="Runs next", ordering="next_run")
    def next(self, job: Schedule) -> SafeString:
        """Show when it runs next."""
        return moment(job.next_run) if job.next_run else NOTHING

    @admin.display(description="Ran last")
    def last(self, job: Any) -> SafeString:
        """Show when its last run ended."""
        return moment(job.last_stopped) if job.last_stopped else NOTHING

    @admin.display(description="How it went")
    def outcome(self, job: Any) -> SafeString:
        """Link to the last run by how it ended; runs that ended well are forgotten after a while."""
        if job.task_success is None:
            return NOTHING
        kind, word = ("success", "done") if job.task_success else ("failure", "failed")
        return link(reverse(f"admin:django_q_{kind}_change", args=[job.task_id]), pill(word))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add when the last run ended."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(last_stopped=Subquery(Task.objects.filter(id=OuterRef("task")).values("stopped")))
