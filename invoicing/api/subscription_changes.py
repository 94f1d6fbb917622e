"""Changes of a running subscription over HTTP: looked at first, then made."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import clock
from billing_site.kernel.errors import FieldError, InvalidFields
from invoicing.api.approvals import ApprovalSerializer
from invoicing.api.base import actor_of, read
from invoicing.api.fields import (
    MomentField,
    MoneyField,
    PeriodSerializer,
    RawField,
    StrictSerializer,
    TextField,
    WholeField,
)
from invoicing.api.subscriptions import VERSION_LAST, SubscriptionSerializer, subscription_of
from invoicing.approvals.models import Approval
from invoicing.catalog.queries import version_to_start
from invoicing.core.definition import price_from_definition
from invoicing.subscriptions.amend import QUANTITY_MAX
from invoicing.subscriptions.change import Change, ChangeKind, Timing, moment_of
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.override import OwnPrice, Scope
from invoicing.workflows.agree_price import change_or_ask
from invoicing.workflows.preview_change import ChangePreview, preview_change

# What a kind of change needs beside its moment; the others refuse it.
MEMBERS = {
    ChangeKind.PLAN: ("plan",),
    ChangeKind.QUANTITY: ("quantity",),
    ChangeKind.PRICE: ("price", "definition"),
}
ALLOWED = {
    ChangeKind.PLAN: ("plan", "version"),
    ChangeKind.QUANTITY: ("quantity",),
    ChangeKind.PRICE: ("price", "definition", "until", "scope"),
}
OF_ONE_KIND = ("plan", "version", "quantity", "price", "definition", "until", "scope")


@extend_schema_field({"type": "string", "example": "renewal"})
class TimingField(MomentField):
    """A time, or "now", or "renewal": the end of the billing period that runs."""

    def to_internal_value(self, value: Any) -> Any:
        """Return a Timing or an aware UTC datetime."""
        if isinstance(value, str) and value in [timing.value for timing in Timing]:
            return Timing(value)
        return super().to_internal_value(value)


class NewChange(StrictSerializer):
    """A change of a subscription; from `at` on, replacing what was planned for later."""

    change = serializers.ChoiceField(
        choices=[kind.value for kind in ChangeKind],
        help_text="`plan`, `quantity` (seats) and `price` (one of its own) change what is charged; `pause` and `resume` whether; `trial_end` moves the"
        " end of the trial to `at`; `cancel` ends it at `at`; `reactivate` takes the end back.",
    )
    at = TimingField(required=False, help_text='A time, "now" (the default) or "renewal".')
    plan = TextField(required=False, max_length=100, help_text="The plan's key; with `plan`.")
    version = WholeField(
        required=False, min_value=1, max_value=VERSION_LAST, help_text="Default: the version that is sold then."
    )
    quantity = WholeField(required=False, min_value=1, max_value=QUANTITY_MAX, help_text="With `quantity`.")
    price = TextField(
        required=False, max_length=100, help_text="The key of a price of the plan in force; with `price`."
    )
    definition = RawField(
        required=False,
        allow_null=True,
        help_text="With `price`: what it is instead, as in a catalog file; null: the plan's.",
    )
    until = MomentField(required=False, help_text="With `price`: it holds until then. Default: until further notice.")
    scope = serializers.ChoiceField(
        required=False,
        choices=[scope.value for scope in Scope],
        help_text="With `price`: for this subscription (the default) or for all of its customer.",
    )
    preview = serializers.BooleanField(required=False, help_text="Only say what it would do. Default: false.")
    digest = TextField(
        required=False, max_length=64, help_text="Of a preview: make the change only if it does what was shown."
    )
    reason = TextField(required=False, max_length=300, help_text="Why; needed unless it is a preview.")


class LineEffectSerializer(serializers.Serializer[Any]):
    """One line without and with the change; null where it is not on the invoice."""

    description = serializers.CharField()
    before = MoneyField(allow_null=True)
    after = MoneyField(allow_null=True)
    difference = MoneyField()


class PeriodEffectSerializer(serializers.Serializer[Any]):
    """The customer's invoice of one period without and with the change, with the usage known now."""

    period = PeriodSerializer()
    before = MoneyField(source="before.total")
    after = MoneyField(source="after.total")
    difference = MoneyField()
    lines = LineEffectSerializer(many=True)


class ChangeSerializer(serializers.Serializer[Any]):
    """What a change did, or would do."""

    preview = serializers.BooleanField()
    at = MomentField()
    digest = serializers.CharField()
    periods = PeriodEffectSerializer(many=True)
    subscription = SubscriptionSerializer(help_text="As it is now: after a preview as before.")


EXAMPLE = {"change": "plan", "plan": "max", "at": "renewal", "preview": True}


class SubscriptionChangesView(generics.GenericAPIView[Subscription]):
    """Changes of one subscription."""

    scopes = {"POST": "subscriptions:write"}
    serializer_class = NewChange

    @extend_schema(
        operation_id="change_subscription",
        summary="Change a subscription, or see what a change would do",
        description="Plan, seats, pause, trial, end. With `preview` nothing is kept: the answer holds the invoices of the"
        " running and the next periods before and after. The same change again changes nothing. Where prices of a customer's own take two"
        " people, somebody else has to approve one (202).",
        request=NewChange,
        responses={200: ChangeSerializer, 202: ApprovalSerializer},
        examples=[OpenApiExample("To another plan at renewal", value=EXAMPLE, request_only=True)],
    )
    def post(self, request: Request, key: str) -> Response:
        """Make a change, or preview it."""
        wanted = read(NewChange(data=request.data))
        subscription = subscription_of(request, key)
        now = clock.now()
        change = _change(subscription, wanted, now=now)
        if wanted.get("preview", False):
            shown = preview_change(subscription=subscription, change=change, at=now)
            return Response(ChangeSerializer(_answer(request, key, shown, is_preview=True)).data)
        done = change_or_ask(
            subscription=subscription,
            change=change,
            at=now,
            digest=wanted.get("digest", ""),
            actor=actor_of(request),
            reason=wanted["reason"],
        )
        if isinstance(done, Approval):
            return Response(ApprovalSerializer(done).data, status=202)
        return Response(ChangeSerializer(_answer(request, key, done, is_preview=False)).data)


def _change(subscription: Subscription, wanted: dict[str, Any], *, now: datetime) -> Change:
    """Return the change that is meant; raises InvalidFields where members are missing or do not belong to it."""
    kind = ChangeKind(wanted["change"])
    errors = [
        FieldError(name, "required", f"is missing: a change of {kind.value} needs it")
        for name in MEMBERS.get(kind, ())
        if name not in wanted
    ]
    errors += [
        FieldError(name, "not_allowed", f"does not belong to the change {kind.value}")
        for name in OF_ONE_KIND
        if name in wanted and name not in ALLOWED.get(kind, ())
    ]
    if not wanted.get("preview", False) and not wanted.get("reason", "").strip():
        errors.append(FieldError("reason", "required", "is missing: say why, or ask for a preview"))
    if errors:
        raise InvalidFields(tuple(errors))
    at = wanted.get("at", Timing.NOW)
    moment = moment_of(subscription=subscription, timing=at, now=now) if isinstance(at, Timing) else at
    return Change(
        kind=kind,
        at=moment,
        plan_version=version_to_start(plan_key=wanted["plan"], number=wanted.get("version"), at=moment)
        if kind is ChangeKind.PLAN
        else None,
        quantity=wanted.get("quantity"),
        own_price=_own_price(wanted) if kind is ChangeKind.PRICE else None,
    )


def _own_price(wanted: dict[str, Any]) -> OwnPrice:
    definition = wanted["definition"]
    return OwnPrice(
        price_key=wanted["price"],
        price=None if definition is None else price_from_definition(definition, field="definition"),
        until=wanted.get("until"),
        scope=Scope(wanted.get("scope", Scope.SUBSCRIPTION)),
    )


def _answer(request: Request, key: str, done: ChangePreview, *, is_preview: bool) -> dict[str, Any]:
    return {
        "preview": is_preview,
        "at": done.change.at,
        "digest": done.digest,
        "periods": done.periods,
        "subscription": subscription_of(request, key),
    }
