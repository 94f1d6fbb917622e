"""What is to change about a subscription: a form for each kind of change, with the fields of that kind only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import F, Q, QuerySet
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
)

from billing_site.kernel.clock import now
from invoicing.admin.own_price import own_price_of
from invoicing.catalog.models import PlanVersion, Price
from invoicing.core.phases import PhaseKind
from invoicing.subscriptions.amend import QUANTITY_MAX
from invoicing.subscriptions.change import Change, ChangeKind, Timing, moment_of
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import Scope
from invoicing.subscriptions.queries import phase_shown

STATED = "stated"
TIMINGS = {
    Timing.NOW.value: "Now",
    Timing.RENEWAL.value: "At renewal: the end of the running billing period",
    STATED: "At the moment below",
}


@dataclass(frozen=True)
class KindWords:
    """A kind of change as the page offers it: its name, what it does, and what its moment is called."""

    name: str
    effect: str
    timing: str = "From when on"
    fields: tuple[str, ...] = ()
    can_renew: bool = True


KINDS = {
    ChangeKind.PLAN: KindWords("Another plan", "It is put on another plan.", fields=("plan_version",)),
    ChangeKind.QUANTITY: KindWords("Seats", "It has another number of seats.", fields=("quantity",)),
    ChangeKind.PRICE: KindWords(
        "Own price",
        "A price of its plan is agreed otherwise, for this subscription or for all of the customer.",
        fields=("price", "definition", "until", "scope"),
    ),
    ChangeKind.PAUSE: KindWords("Pause", "Nothing is charged until it is resumed.", "Paused from"),
    ChangeKind.RESUME: KindWords("Resume", "It is charged again.", "Charged again from"),
    ChangeKind.TRIAL_END: KindWords(
        "End of trial",
        "Its trial is made longer or shorter; from its end on it is charged.",
        "The trial ends",
        can_renew=False,
    ),
    ChangeKind.CANCEL: KindWords("End", "It ends; what was used before is still billed.", "It ends"),
    ChangeKind.REACTIVATE: KindWords(
        "Take its end back",
        "It goes on as if it had been paused since its end.",
        "It goes on from",
        can_renew=False,
    ),
}


def kinds_offered(*, subscription: Subscription) -> list[ChangeKind]:
    """Return the kinds of change that a subscription as it is agreed now can have."""
    kinds = {phase.kind for phase in subscription.phases.all()}
    has_end, is_add_on = subscription.ended_at is not None, subscription.parent_id is not None
    left_out = {
        ChangeKind.PAUSE: is_add_on,
        ChangeKind.RESUME: is_add_on or PhaseKind.PAUSED.value not in kinds,
        ChangeKind.TRIAL_END: is_add_on or PhaseKind.TRIAL.value not in kinds,
        ChangeKind.CANCEL: has_end,
        ChangeKind.REACTIVATE: not has_end,
    }
    return [kind for kind in KINDS if not left_out.get(kind, False)]


def published_versions() -> QuerySet[PlanVersion]:
    """Return what a subscription can be put on, the newest of each plan first."""
    never_sold = Q(effective_from=F("effective_to"), effective_from__isnull=False)
    published = PlanVersion.objects.filter(~never_sold, published_at__isnull=False)
    return published.select_related("plan").order_by("plan__name", "-number")


def prices_of_plan(*, subscription: Subscription) -> QuerySet[Price]:
    """Return the prices of the plan that a subscription is on now, in its customer's currency."""
    version = phase_shown(subscription=subscription, at=now()).plan_version_id
    prices = Price.objects.filter(plan_version=version, currency=subscription.customer.currency)
    return prices.select_related("meter").prefetch_related("tiers", "cells").order_by("position")


class ChangeForm(forms.Form):
    """What is to change, and from when on; fields of other kinds of change are not in it."""

    kind = forms.ChoiceField(choices=[(kind.value, words.name) for kind, words in KINDS.items()])
    kind.widget = forms.HiddenInput()
    plan_version = forms.ModelChoiceField(
        label="Plan", queryset=PlanVersion.objects.none(), widget=UnfoldAdminSelectWidget()
    )
    quantity = forms.IntegerField(
        label="Seats",
        min_value=1,
        max_value=QUANTITY_MAX,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Flat fees count so often.",
    )
    price = forms.ChoiceField(label="Price", widget=UnfoldAdminSelectWidget())
    definition = forms.CharField(
        label="What it is instead",
        required=False,
        max_length=5000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="As in a catalog file, one member a line. Change the amounts below, or leave it empty for the plan's price again.",
    )
    until = forms.SplitDateTimeField(
        label="It holds until (UTC)",
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        help_text="Empty: until further notice.",
    )
    scope = forms.ChoiceField(
        label="It holds for",
        required=False,
        choices=[(Scope.SUBSCRIPTION.value, "This subscription"), (Scope.CUSTOMER.value, "All of the customer's")],
        widget=UnfoldAdminSelectWidget(),
    )
    timing = forms.ChoiceField(choices=list(TIMINGS.items()), widget=UnfoldAdminSelectWidget())
    at = forms.SplitDateTimeField(label="Moment (UTC)", required=False, widget=UnfoldAdminSplitDateTimeWidget())

    # The operations' words for what this form calls otherwise.
    renamed: ClassVar = {"plan": "plan_version", "ended_at": "at"}

    def __init__(self, *args: Any, subscription: Subscription, kind: ChangeKind, **options: Any) -> None:
        """Keep the fields of the kind, and offer the published versions or the prices of the plan in force."""
        super().__init__(*args, **options)
        fields, words = self.fields, KINDS[kind]
        for name in [name for each in KINDS.values() for name in each.fields if name not in words.fields]:
            del fields[name]
        if kind is ChangeKind.PLAN:
            fields["plan_version"].queryset = published_versions()  # type: ignore[attr-defined]
        if kind is ChangeKind.QUANTITY:
            fields["quantity"].initial = phase_shown(subscription=subscription, at=now()).quantity
        if kind is ChangeKind.PRICE:
            offered = [(price.key, price.name) for price in prices_of_plan(subscription=subscription)]
            fields["price"].choices = [("", "–"), *offered]  # type: ignore[attr-defined]
        fields["timing"].label = words.timing
        fields["timing"].choices = [  # type: ignore[attr-defined]
            (value, name) for value, name in TIMINGS.items() if words.can_renew or value != Timing.RENEWAL
        ]
        if kind is ChangeKind.TRIAL_END:
            fields["timing"].initial = STATED
        fields["at"].help_text = _midnight_words(subscription.customer.timezone)

    def clean(self) -> dict[str, Any]:
        """Ask for the moment where it is to be stated."""
        cleaned = super().clean() or {}
        if cleaned.get("timing") == STATED and "at" not in self.errors and cleaned.get("at") is None:
            self.add_error("at", "State the moment, or choose another time above.")
        return cleaned

    def change(self, subscription: Subscription) -> Change:
        """Return the change that the form asks for; raises InvalidInput where nothing runs that could be renewed."""
        fields = self.cleaned_data
        kind, timing = ChangeKind(fields["kind"]), fields["timing"]
        if timing == STATED:
            at = fields["at"]
        else:
            at = moment_of(subscription=subscription, timing=Timing(timing), now=now().replace(microsecond=0))
        return Change(
            kind=kind,
            at=at,
            plan_version=fields.get("plan_version"),
            quantity=fields.get("quantity"),
            own_price=own_price_of(fields=fields) if kind is ChangeKind.PRICE else None,
        )


def kind_asked(*, wanted: str | None, offered: Sequence[ChangeKind]) -> ChangeKind:
    """Return the kind that a page was asked for, the first that is offered where it names none."""
    return ChangeKind(wanted) if wanted in set(ChangeKind) else offered[0]


def _midnight_words(timezone: str) -> str:
    """Say what the customer's next midnight is in UTC, for who thinks in days."""
    zone = ZoneInfo(timezone)
    midnight = datetime.combine(now().astimezone(zone).date() + timedelta(days=1), time.min, zone)
    words = "Only with “At the moment below”."
    if midnight.astimezone(UTC).time() == time.min:
        return words
    return f"{words} Midnight of {midnight:%Y-%m-%d} in the customer's zone ({timezone}) is {midnight.astimezone(UTC):%Y-%m-%d %H:%M} UTC."
