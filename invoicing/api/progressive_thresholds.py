"""Thresholds of progressive invoices, over HTTP: set, looked at with what was seen last, retired."""

from typing import Any

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
from billing_site.kernel.money import wire
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField
from invoicing.customers.queries import customer_by_key
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.progressive.operations import retire_threshold, set_threshold
from invoicing.progressive.queries import threshold_by_key

REQUEST_EXAMPLE = {
    "key": "acme-progressive",
    "customer_id": "cust_acme",
    "amount": {"amount": "1000.00", "currency": "EUR"},
    "step": {"amount": "500.00", "currency": "EUR"},
    "reason": "agreed in the contract",
}
THRESHOLD_EXAMPLE = REQUEST_EXAMPLE | {
    "seen_amount": {"amount": "212.40", "currency": "EUR"},
    "seen_at": "2026-08-03T10:01:00Z",
    "problem": "",
    "set_at": "2026-08-01T09:00:00Z",
    "retired_at": None,
}


class NewProgressiveThreshold(StrictSerializer):
    """From which amount on the usage of a running period is invoiced at once."""

    key = TextField(max_length=100, help_text="The same key a second time is the threshold that exists.")
    customer_id = TextField(max_length=100, help_text="The customer's key. The threshold before it is retired.")
    amount = NewMoneyField(
        help_text="Usage of a running period that comes to it is invoiced; before tax, in the customer's currency."
    )
    step = NewMoneyField(
        required=False, allow_null=True, help_text="After so much more it is invoiced again. Default: once a period."
    )
    reason = TextField(max_length=300)


class ProgressiveThresholdSerializer(serializers.ModelSerializer[ProgressiveThreshold]):
    """A threshold and what was seen last."""

    customer_id = serializers.CharField(source="customer.key")
    amount = MoneyField()
    step = MoneyField(allow_null=True)
    seen_amount = serializers.SerializerMethodField(help_text="The usage of the running period that no invoice had.")
    seen_at = MomentField(allow_null=True)
    problem = serializers.CharField(help_text="Why nothing is invoiced, where something should be.")
    set_at = MomentField()
    retired_at = MomentField(allow_null=True)

    class Meta:
        model = ProgressiveThreshold
        fields = (
            "key",
            "customer_id",
            "amount",
            "step",
            "seen_amount",
            "seen_at",
            "problem",
            "set_at",
            "retired_at",
            "reason",
        )

    @extend_schema_field(MoneyField(allow_null=True))
    def get_seen_amount(self, threshold: ProgressiveThreshold) -> dict[str, str] | None:
        """Return the amount, or null where nothing was computed yet."""
        return None if threshold.seen_amount is None else wire(Money(threshold.seen_amount, threshold.currency))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_progressive_thresholds",
        summary="List the thresholds of progressive invoices, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Of this customer only.")],
    )
)
class ProgressiveThresholdsView(generics.ListAPIView[ProgressiveThreshold]):
    """All thresholds."""

    scopes = {"GET": "invoices:read", "POST": "invoices:write"}
    customer_bound = ("GET",)
    serializer_class = ProgressiveThresholdSerializer

    def get_queryset(self) -> QuerySet[ProgressiveThreshold]:
        """Return the thresholds that the caller may see."""
        filters = filters_of(self.request, known=("customer_id",))
        thresholds = ProgressiveThreshold.objects.select_related("customer")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            thresholds = thresholds.filter(customer__key=key)
        return thresholds

    @extend_schema(
        operation_id="set_progressive_threshold",
        summary="Invoice usage at once from an amount on",
        description="As soon as the usage of a running period comes to the amount, within about a minute, an invoice of kind `progressive` charges it,"
        " and the invoice of the period takes that off. Discounts, commitments and credit count; it never charges more than the period would if it ended then.",
        request=NewProgressiveThreshold,
        responses={201: ProgressiveThresholdSerializer},
        examples=[
            OpenApiExample("From 1000 on, then each 500", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("From 1000 on, then each 500", value=THRESHOLD_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Set it."""
        fields: dict[str, Any] = read(NewProgressiveThreshold(data=request.data))
        threshold = set_threshold(
            customer=customer_by_key(key=fields["customer_id"], field="customer_id"),
            key=fields["key"],
            amount=fields["amount"],
            step=fields.get("step"),
            at=now(),
            actor=actor_of(request),
            reason=fields["reason"],
        )
        return Response(ProgressiveThresholdSerializer(threshold).data, status=201)


class ThresholdRetirement(StrictSerializer):
    """Why a threshold ends."""

    reason = TextField(max_length=300)


class ProgressiveThresholdRetireView(generics.GenericAPIView[ProgressiveThreshold]):
    """Ending a threshold."""

    scopes = {"POST": "invoices:write"}
    serializer_class = ProgressiveThresholdSerializer

    @extend_schema(
        operation_id="retire_progressive_threshold",
        summary="Invoice by a threshold no more",
        request=ThresholdRetirement,
        responses=ProgressiveThresholdSerializer,
        examples=[
            OpenApiExample("Why", value={"reason": "they pay by the month again"}, request_only=True),
            OpenApiExample(
                "Retired", value=THRESHOLD_EXAMPLE | {"retired_at": "2026-09-01T00:00:00Z"}, response_only=True
            ),
        ],
    )
    def post(self, request: Request, key: str) -> Response:
        """Retire it."""
        fields = read(ThresholdRetirement(data=request.data))
        threshold = threshold_by_key(key=key, of_customer=bound_customer(request))
        retired = retire_threshold(threshold=threshold, at=now(), actor=actor_of(request), reason=fields["reason"])
        return Response(ProgressiveThresholdSerializer(retired).data)
