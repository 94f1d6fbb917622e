"""Top-ups over HTTP: prepaid credit is sold by an invoice, and looked at until it is granted."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.customers.queries import customer_by_key
from invoicing.top_ups.models import VALID_DAYS_MAX, TopUp, TopUpStatus
from invoicing.top_ups.operations import NAME_DEFAULT, TopUpTerms
from invoicing.top_ups.queries import top_up_by_key
from invoicing.workflows.sell_credit import sell_credit

REQUEST_EXAMPLE = {
    "key": "acme-top-up-7",
    "customer_id": "cust_acme",
    "amount": {"amount": "500.00", "currency": "EUR"},
    "valid_days": 365,
    "reason": "order 4712",
}
TOP_UP_EXAMPLE = REQUEST_EXAMPLE | {
    "name": "Prepaid credit",
    "status": "paid",
    "invoice": "INV-2026-00043",
    "grant": "top-up-INV-2026-00043-6f1c",
    "made_at": "2026-08-01T09:00:00Z",
}


class NewTopUp(StrictSerializer):
    """Prepaid credit to be sold."""

    key = TextField(
        max_length=100, help_text="Of its invoice too. The same key a second time is the top-up that exists."
    )
    customer_id = TextField(max_length=100, help_text="The customer's key.")
    amount = NewMoneyField(help_text="In the customer's currency.")
    name = TextField(max_length=200, required=False, help_text=f"What stands on invoices. Default: {NAME_DEFAULT}.")
    valid_days = WholeField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=VALID_DAYS_MAX,
        help_text="For how many days after its payment the credit lasts. Default: until it is used up.",
    )
    reason = TextField(max_length=300)


class TopUpSerializer(serializers.ModelSerializer[TopUp]):
    """A top-up and where it stands."""

    key = serializers.CharField(source="invoice.key")
    customer_id = serializers.CharField(source="customer.key")
    status = serializers.ChoiceField(choices=TopUpStatus.choices, help_text="open until its invoice is paid, or void.")
    invoice = serializers.CharField(source="invoice.number")
    amount = MoneyField()
    grant = serializers.CharField(
        source="grant.key", default=None, allow_null=True, help_text="The credit grant; null until it is paid."
    )
    made_at = MomentField()

    class Meta:
        model = TopUp
        fields = (
            "key",
            "customer_id",
            "status",
            "invoice",
            "amount",
            "name",
            "valid_days",
            "grant",
            "made_at",
            "reason",
        )


@extend_schema_view(
    get=extend_schema(
        operation_id="list_top_ups",
        summary="List top-ups, newest first",
        parameters=[
            OpenApiParameter("customer_id", str, description="Of this customer only."),
            OpenApiParameter("status", str, enum=TopUpStatus.values),
        ],
    )
)
class TopUpsView(generics.ListAPIView[TopUp]):
    """All top-ups."""

    scopes = {"GET": "credits:read", "POST": "credits:write"}
    customer_bound = ("GET",)
    serializer_class = TopUpSerializer

    def get_queryset(self) -> QuerySet[TopUp]:
        """Return the top-ups that the caller may see."""
        filters = filters_of(self.request, known=("customer_id", "status"))
        top_ups = TopUp.objects.select_related("customer", "invoice", "grant")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            top_ups = top_ups.filter(customer__key=key)
        if "status" in filters:
            if filters["status"] not in TopUpStatus.values:
                raise InvalidInput(f"must be one of {', '.join(TopUpStatus.values)}", field="status", code="unknown")
            top_ups = top_ups.filter(status=filters["status"])
        return top_ups

    @extend_schema(
        operation_id="sell_credit",
        summary="Sell prepaid credit",
        description="Issues an invoice over the credit. The credit is granted when that invoice is paid in full, once; a void invoice closes the top-up.",
        request=NewTopUp,
        responses={201: TopUpSerializer},
        examples=[
            OpenApiExample("A year's credit", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("A year's credit", value=TOP_UP_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Sell it."""
        fields: dict[str, Any] = read(NewTopUp(data=request.data))
        top_up = sell_credit(
            customer=customer_by_key(key=fields.pop("customer_id"), field="customer_id"),
            key=fields.pop("key"),
            reason=fields.pop("reason"),
            terms=TopUpTerms(**fields),
            at=now(),
            actor=actor_of(request),
        )
        return Response(TopUpSerializer(top_up).data, status=201)


class TopUpView(generics.GenericAPIView[TopUp]):
    """One top-up."""

    scopes = {"GET": "credits:read"}
    customer_bound = ("GET",)
    serializer_class = TopUpSerializer

    @extend_schema(
        operation_id="get_top_up",
        summary="Read a top-up",
        responses=TopUpSerializer,
        examples=[OpenApiExample("Paid", value=TOP_UP_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        return Response(TopUpSerializer(top_up_by_key(key=key, of_customer=bound_customer(request))).data)
