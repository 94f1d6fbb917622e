"""Commitments of a subscription over HTTP: agreed, looked at with what is left of them, and taken back before they are billed."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import clock
from billing_site.kernel.errors import FieldError, InvalidFields, NotFound
from billing_site.kernel.money import round_money
from invoicing.api.base import actor_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.api.subscriptions import subscription_of
from invoicing.core.numbers import Mistake, read_number
from invoicing.subscriptions.commit import PERIODS_MAX, TrancheWanted, commit_spend, withdraw_commitment
from invoicing.subscriptions.commitment import Commitment, CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.committed import burndown_of

NUMBER_DIGITS = 18
FIGURES = ("promised", "rolled_in", "spent", "trued_up", "expired", "rolled_over", "left")
EXAMPLE = {
    "starts_at": "2026-09-01T00:00:00Z",
    "payment": "in_advance",
    "tranches": [
        {"periods": 12, "amount": {"amount": "12000.00", "currency": "EUR"}},
        {"periods": 12, "amount": {"amount": "18000.00", "currency": "EUR"}},
    ],
    "rolls_over": True,
    "rollover_max": {"amount": "1000.00", "currency": "EUR"},
    "overage_rate": "0.9",
    "reason": "order 4711",
}


@extend_schema_field({"type": "string", "example": "0.8"})
class RateField(serializers.Field[Any, Any, Any, Any]):
    """A fraction of the list price as a decimal string."""

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the number."""
        number = read_number(data)
        if isinstance(number, Mistake):
            raise serializers.ValidationError(number.message, code=number.code)
        return number


class NewTranche(StrictSerializer):
    """An amount that is promised for some billing periods; several make a ramp."""

    periods = WholeField(min_value=1, max_value=PERIODS_MAX, help_text="Billing periods of the subscription.")
    amount = NewMoneyField()


class NewCommitment(StrictSerializer):
    """What a customer promises to spend under a subscription."""

    starts_at = MomentField(help_text="It begins with the billing period that holds this moment.")
    payment = serializers.ChoiceField(
        choices=CommitmentPayment.choices,
        help_text="`in_advance`: invoiced when it begins, charges are drawn from it. `in_arrears`: trued up at the end.",
    )
    tranches = NewTranche(many=True)
    rolls_over = serializers.BooleanField(required=False, help_text="What is left goes on into the next tranche.")
    rollover_max = NewMoneyField(required=False, help_text="At most so much of it. Default: all.")
    overage_rate = RateField(required=False, help_text='Of the list price beyond it: "0.8" is 80 %. Default: "1".')
    reason = TextField(max_length=300)


class TrancheSerializer(serializers.ModelSerializer[CommitmentTranche]):
    """A tranche with its burn-down: promised + rolled_in = spent + trued_up + expired + rolled_over + left."""

    starts_at = MomentField()
    ends_at = MomentField()
    burndown = serializers.SerializerMethodField()
    settled = serializers.SerializerMethodField(help_text="Whether an invoice, or a draft, has its end.")

    class Meta:
        model = CommitmentTranche
        fields = ("starts_at", "ends_at", "burndown", "settled")

    @extend_schema_field({"type": "object", "properties": {name: {"type": "object"} for name in FIGURES}})
    def get_burndown(self, tranche: CommitmentTranche) -> dict[str, Any]:
        """Return the figures as money."""
        burndown, wire = burndown_of(tranche=tranche), MoneyField().to_representation
        return {name: wire(round_money(getattr(burndown, name), tranche.currency)) for name in FIGURES}

    def get_settled(self, tranche: CommitmentTranche) -> bool:
        """Say whether it has ended on an invoice."""
        return burndown_of(tranche=tranche).is_settled


class CommitmentSerializer(serializers.ModelSerializer[Commitment]):
    """A commitment with its tranches."""

    rollover_max = MoneyField(allow_null=True)
    overage_rate = serializers.SerializerMethodField()
    created_at = MomentField()
    tranches = serializers.SerializerMethodField()

    class Meta:
        model = Commitment
        fields = ("id", "payment", "rolls_over", "rollover_max", "overage_rate", "created_at", "tranches")

    def get_overage_rate(self, commitment: Commitment) -> str:
        """Return the fraction without trailing zeros."""
        return format(commitment.overage_rate.normalize(), "f")

    @extend_schema_field(TrancheSerializer(many=True))
    def get_tranches(self, commitment: Commitment) -> Any:
        """Return the tranches in their order."""
        tranches = commitment.tranches.select_related("commitment", "subscription").order_by("position")
        return TrancheSerializer(tranches, many=True).data


class CommitmentList(serializers.Serializer[Any]):
    """The commitments of a subscription, the newest first."""

    commitments = CommitmentSerializer(many=True)


class CommitmentsView(generics.GenericAPIView[Commitment]):
    """The commitments of one subscription."""

    scopes = {"GET": "subscriptions:read", "POST": "subscriptions:write"}
    customer_bound = ("GET",)
    serializer_class = CommitmentSerializer

    @extend_schema(
        operation_id="list_commitments",
        summary="List the commitments of a subscription with what is left of them",
        responses=CommitmentList,
    )
    def get(self, request: Request, key: str) -> Response:
        """Return them, the newest first."""
        subscription = subscription_of(request, key)
        return Response(CommitmentList({"commitments": subscription.commitments.order_by("-id")}).data)

    @extend_schema(
        operation_id="commit_spend",
        summary="Commit spend under a subscription",
        request=NewCommitment,
        responses={201: CommitmentSerializer},
        examples=[OpenApiExample("Two years, prepaid", value=EXAMPLE, request_only=True)],
    )
    def post(self, request: Request, key: str) -> Response:
        """Agree a commitment."""
        subscription = subscription_of(request, key)
        wanted = read(NewCommitment(data=request.data))
        _check_currency(wanted, subscription.customer.currency)
        limit = wanted.get("rollover_max")
        commitment = commit_spend(
            subscription=subscription,
            starts_at=wanted["starts_at"],
            payment=wanted["payment"],
            tranches=[TrancheWanted(one["periods"], one["amount"].amount) for one in wanted["tranches"]],
            rolls_over=wanted.get("rolls_over", False),
            rollover_max=None if limit is None else limit.amount,
            overage_rate=wanted.get("overage_rate", Decimal(1)),
            at=clock.now(),
            actor=actor_of(request),
            reason=wanted["reason"],
        )
        return Response(CommitmentSerializer(commitment).data, status=201)


class CommitmentView(generics.GenericAPIView[Commitment]):
    """One commitment."""

    scopes = {"DELETE": "subscriptions:write"}
    serializer_class = CommitmentSerializer

    @extend_schema(
        operation_id="withdraw_commitment",
        summary="Withdraw a commitment of which nothing is billed or drafted",
        responses={204: None},
    )
    def delete(self, request: Request, key: str, number: str) -> Response:
        """Take it back."""
        commitments = subscription_of(request, key).commitments
        is_number = number.isdecimal() and len(number) <= NUMBER_DIGITS
        commitment = commitments.filter(pk=int(number)).first() if is_number else None
        if commitment is None:
            raise NotFound(f"subscription {key} has no commitment {number}", field="id")
        withdraw_commitment(commitment=commitment)
        return Response(status=204)


def _check_currency(wanted: dict[str, Any], currency: str) -> None:
    amounts = {f"tranches[{place}].amount": one["amount"] for place, one in enumerate(wanted["tranches"])}
    if "rollover_max" in wanted:
        amounts["rollover_max"] = wanted["rollover_max"]
    errors = [
        FieldError(field, "currency", f"must be in {currency}, the customer's currency")
        for field, amount in amounts.items()
        if amount.currency.code != currency
    ]
    if errors:
        raise InvalidFields(tuple(errors))
