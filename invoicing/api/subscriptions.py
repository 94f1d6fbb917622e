"""Subscriptions over HTTP (S1-099)."""

from typing import Any
from uuid import uuid4

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from moneyed import Money
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import wire
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, StrictSerializer, TextField, WholeField
from invoicing.catalog.queries import version_to_start
from invoicing.customers.queries import customer_by_key
from invoicing.subscriptions.amend import QUANTITY_MAX
from invoicing.subscriptions.cancel import end_subscription
from invoicing.subscriptions.models import Anchor, PriceOverride, Subscription, SubscriptionPhase
from invoicing.subscriptions.override import Scope
from invoicing.subscriptions.queries import held_in_advance, phase_shown, state_of
from invoicing.subscriptions.snapshot import with_phases
from invoicing.subscriptions.start import start_subscription

REQUEST_EXAMPLE = {
    "key": "sub_acme_pro",
    "customer_id": "cust_acme",
    "plan": "pro",
    "started_at": "2026-08-01T00:00:00+02:00",
    "anchor": "calendar",
}
ANSWER_EXAMPLE = REQUEST_EXAMPLE | {
    "parent": None,
    "version": 1,
    "quantity": 1,
    "state": "planned",
    "started_at": "2026-07-31T22:00:00Z",
    "ended_at": None,
    "created_at": "2026-07-20T09:00:00Z",
    "phases": [
        {
            "starts_at": "2026-07-31T22:00:00Z",
            "ends_at": None,
            "plan": "pro",
            "version": 1,
            "quantity": 1,
            "kind": "active",
        }
    ],
    "overrides": [],
    "held_in_advance": None,
}
VERSION_LAST = 2**31 - 1


class NewSubscription(StrictSerializer):
    """A plan to be put in force for a customer."""

    key = TextField(required=False, max_length=100, help_text="Your name for it; one is made where it is missing.")
    customer_id = TextField(max_length=100, help_text="The customer's key.")
    plan = TextField(max_length=100, help_text="The plan's key.")
    version = WholeField(
        required=False, min_value=1, max_value=VERSION_LAST, help_text="Default: the version that is sold at the start."
    )
    started_at = MomentField()
    quantity = WholeField(required=False, min_value=1, max_value=QUANTITY_MAX, help_text="Seats; default: 1.")
    trial_ends_at = MomentField(required=False, help_text="Nothing is charged before. Default: no trial.")
    parent = TextField(  # type: ignore[assignment]  # a member of the document, not of the field
        required=False,
        max_length=100,
        help_text="With an add-on: the key of the subscription that it is added to, whose periods, trial, pauses and end it follows.",
    )
    anchor = serializers.ChoiceField(
        required=False, choices=Anchor.choices, help_text="Default: calendar; of an add-on its parent's."
    )


class SubscriptionEnd(StrictSerializer):
    """When a subscription ends, and why."""

    ended_at = MomentField(help_text="The first moment without it.")
    reason = TextField(max_length=500)


class PhaseSerializer(serializers.ModelSerializer[SubscriptionPhase]):
    """A stretch of a subscription under one plan version, quantity and kind."""

    plan = serializers.CharField(source="plan_version.plan.key")
    version = serializers.IntegerField(source="plan_version.number")
    kind = serializers.CharField(help_text="trial, active or paused: only what is active is charged.")
    starts_at = MomentField()
    ends_at = MomentField(allow_null=True)

    class Meta:
        model = SubscriptionPhase
        fields = ("starts_at", "ends_at", "plan", "version", "quantity", "kind")


class PriceOverrideSerializer(serializers.ModelSerializer[PriceOverride]):
    """A price of its own, in place of the plan's."""

    plan = serializers.CharField(source="plan.key")
    price = serializers.CharField(source="price_key", help_text="The key of the plan's price.")
    definition = serializers.JSONField(help_text="What it is instead, as in a catalog file.")
    starts_at = MomentField()
    ends_at = MomentField(allow_null=True)
    scope = serializers.SerializerMethodField(
        help_text="subscription, or customer: it holds for all of the customer's."
    )

    class Meta:
        model = PriceOverride
        fields = ("plan", "price", "definition", "starts_at", "ends_at", "scope")

    def get_scope(self, override: PriceOverride) -> str:
        """Return for what it holds."""
        return (Scope.CUSTOMER if override.subscription_id is None else Scope.SUBSCRIPTION).value


class SubscriptionSerializer(serializers.ModelSerializer[Subscription]):
    """A subscription as it is."""

    customer_id = serializers.CharField(source="customer.key")
    parent = serializers.SerializerMethodField(  # type: ignore[assignment]
        help_text="Of an add-on: the subscription that it is added to."
    )
    plan = serializers.SerializerMethodField(
        help_text="In force now; before the start the first, after the end the last."
    )
    version = serializers.SerializerMethodField()
    quantity = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField(
        help_text="planned, trial, running, incomplete (its trial is over and there is no means of payment), paused or ended."
    )
    phases = PhaseSerializer(many=True)
    overrides = serializers.SerializerMethodField(help_text="Prices of its own, its customer's first.")
    held_in_advance = serializers.SerializerMethodField(
        help_text="What invoices have taken in advance of it and not settled yet; null where they never took any."
    )
    started_at = MomentField()
    ended_at = MomentField(allow_null=True)
    created_at = MomentField()

    class Meta:
        model = Subscription
        fields = (
            "key",
            "customer_id",
            "parent",
            "plan",
            "version",
            "quantity",
            "state",
            "anchor",
            "started_at",
            "ended_at",
            "created_at",
            "phases",
            "overrides",
            "held_in_advance",
        )

    @extend_schema_field(PriceOverrideSerializer(many=True))
    def get_overrides(self, subscription: Subscription) -> list[dict[str, Any]]:
        """Return the prices that hold for it in place of the plan's, whenever."""
        rows = [
            row for row in subscription.customer.price_overrides.all() if row.subscription_id in (None, subscription.pk)
        ]
        rows.sort(key=lambda row: (row.subscription_id is not None, row.price_key, row.starts_at))
        return list(PriceOverrideSerializer(rows, many=True).data)

    @extend_schema_field(MoneyField(allow_null=True))
    def get_held_in_advance(self, subscription: Subscription) -> dict[str, str] | None:
        """Return what is held; a list has read it for all of its rows."""
        known: dict[int, Money] | None = self.context.get("held_in_advance")
        held = held_in_advance(subscriptions=[subscription]) if known is None else known
        return wire(held[subscription.pk]) if subscription.pk in held else None

    def get_parent(self, subscription: Subscription) -> str | None:
        """Return the key of what it is added to."""
        return subscription.parent.key if subscription.parent is not None else None

    def get_plan(self, subscription: Subscription) -> str:
        """Return the key of the plan in force."""
        return str(phase_shown(subscription=subscription, at=now()).plan_version.plan.key)

    def get_version(self, subscription: Subscription) -> int:
        """Return the number of the plan version in force."""
        return phase_shown(subscription=subscription, at=now()).plan_version.number

    def get_state(self, subscription: Subscription) -> str:
        """Return the word for it now."""
        return state_of(subscription=subscription, at=now())

    def get_quantity(self, subscription: Subscription) -> int:
        """Return how many seats are held."""
        return phase_shown(subscription=subscription, at=now()).quantity


@extend_schema_view(
    get=extend_schema(
        operation_id="list_subscriptions",
        summary="List subscriptions, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Only this customer's.")],
    )
)
class SubscriptionsView(generics.ListAPIView[Subscription]):
    """All subscriptions."""

    scopes = {"GET": "subscriptions:read", "POST": "subscriptions:write"}
    customer_bound = ("GET",)
    serializer_class = SubscriptionSerializer
    held: dict[int, Money] | None = None

    def get_queryset(self) -> QuerySet[Subscription]:
        """Return the subscriptions that the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id",))
        keys = {key for key in (bound_customer(self.request), filters.get("customer_id")) if key}
        found = with_phases(Subscription.objects.all()).prefetch_related("customer__price_overrides__plan")
        for key in keys:
            found = found.filter(customer__key=key)
        return found

    def paginate_queryset(self, queryset: Any) -> Any:
        """Read with the page what is held of its rows."""
        page = super().paginate_queryset(queryset)
        self.held = held_in_advance(subscriptions=page or ())
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """Hand it on."""
        return {**super().get_serializer_context(), "held_in_advance": self.held}

    @extend_schema(
        operation_id="start_subscription",
        summary="Start a subscription",
        request=NewSubscription,
        responses={201: SubscriptionSerializer},
        examples=[
            OpenApiExample("Pro for Acme", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("Pro for Acme", value=ANSWER_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Put a plan in force for a customer."""
        wanted = read(NewSubscription(data=request.data))
        subscription = start_subscription(
            key=wanted.get("key", f"sub_{uuid4().hex}"),
            customer=customer_by_key(key=wanted["customer_id"]),
            plan_version=version_to_start(
                plan_key=wanted["plan"], number=wanted.get("version"), at=wanted["started_at"]
            ),
            started_at=wanted["started_at"],
            anchor=wanted.get("anchor", ""),
            parent=_parent(request, wanted["parent"]) if "parent" in wanted else None,
            quantity=wanted.get("quantity", 1),
            trial_ends_at=wanted.get("trial_ends_at"),
            actor=actor_of(request),
            reason="started over the API",
        )
        return Response(SubscriptionSerializer(subscription_of(request, subscription.key)).data, status=201)


class SubscriptionView(generics.GenericAPIView[Subscription]):
    """One subscription."""

    scopes = {"GET": "subscriptions:read"}
    customer_bound = ("GET",)
    serializer_class = SubscriptionSerializer

    @extend_schema(operation_id="get_subscription", summary="Read a subscription")
    def get(self, request: Request, key: str) -> Response:
        """Return the subscription."""
        return Response(SubscriptionSerializer(subscription_of(request, key)).data)


class SubscriptionEndView(generics.GenericAPIView[Subscription]):
    """The end of one subscription."""

    scopes = {"POST": "subscriptions:write"}
    serializer_class = SubscriptionEnd

    @extend_schema(
        operation_id="end_subscription",
        summary="End a subscription",
        description="Its last period is billed up to the end.",
        responses=SubscriptionSerializer,
        examples=[
            OpenApiExample(
                "At the end of the month",
                value={"ended_at": "2026-09-01T00:00:00+02:00", "reason": "moved to another plan"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request, key: str) -> Response:
        """Let the subscription end."""
        end = read(SubscriptionEnd(data=request.data))
        ended = end_subscription(
            subscription=subscription_of(request, key),
            ended_at=end["ended_at"],
            actor=actor_of(request),
            reason=end["reason"],
        )
        return Response(SubscriptionSerializer(subscription_of(request, ended.key)).data)


def subscription_of(request: Request, key: str) -> Subscription:
    """Return a subscription with its phases; raises NotFound, also where the caller may not see it."""
    found = with_phases(Subscription.objects.all()).filter(key=key).first()
    if found is None or bound_customer(request) not in ("", found.customer.key):
        raise NotFound(f"there is no subscription {key!r}", field="key")
    return found


def _parent(request: Request, key: str) -> Subscription:
    """Return the subscription to which another is to be added; raises NotFound at `parent`."""
    try:
        return subscription_of(request, key)
    except NotFound as problem:
        raise NotFound(problem.message, field="parent") from None
