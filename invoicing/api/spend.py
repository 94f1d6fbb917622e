"""Spend over HTTP: what the running period has cost, how its budgets stand, and what was noticed (S0-140, S0-143, S3-019)."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from invoicing.api.base import bound_customer, check_customer_visible, filters_of
from invoicing.api.fields import MomentField, MoneyField, PeriodSerializer, QuantityField
from invoicing.core.spend import Basis
from invoicing.customers.queries import customer_by_key
from invoicing.spend.models import AtLimit, SpendNotice
from invoicing.workflows.read_spend import read_spend

MONEY = {"currency": "EUR"}
EXAMPLE = {
    "customer_id": "cust_acme",
    "at": "2026-08-15T12:00:00Z",
    "periods": [
        {
            "period": {"start": "2026-08-01T00:00:00Z", "end": "2026-09-01T00:00:00Z"},
            "spend": {"amount": "2010.00", **MONEY},
            "lines": [
                {
                    "description": "Actions",
                    "meter": "actions",
                    "quantity": "201000",
                    "unit": "action",
                    "amount": {"amount": "2010.00", **MONEY},
                }
            ],
            "forecast": {
                "low": {"amount": "3480.00", **MONEY},
                "expected": {"amount": "3655.10", **MONEY},
                "high": {"amount": "3900.00", **MONEY},
            },
            "forecast_reason": "Actions: 164,510 actions expected in the 17 days to come, like the last 4 weeks;"
            " the last week was 12 % above the one before.",
            "budgets": [
                {
                    "key": "acme_monthly",
                    "name": "Monthly budget",
                    "amount": {"amount": "2500.00", **MONEY},
                    "at_limit": "notify",
                    "percent": 80,
                    "left": {"amount": "490.00", **MONEY},
                    "reached": [50, 80],
                    "next": 100,
                }
            ],
        }
    ],
}


class BudgetStandingSerializer(serializers.Serializer[Any]):
    """A budget against the spend so far."""

    key = serializers.CharField(source="budget.key")
    name = serializers.CharField(source="budget.name")
    amount = MoneyField(source="budget.amount")
    at_limit = serializers.ChoiceField(source="budget.at_limit", choices=AtLimit.choices)
    percent = serializers.IntegerField(source="standing.percent", help_text="Whole percent of it, rounded down.")
    left = MoneyField(source="standing.left", help_text="Negative beyond it.")
    reached = serializers.ListField(child=serializers.IntegerField(), source="standing.reached")
    next = serializers.IntegerField(source="standing.next", allow_null=True, help_text="The next threshold.")


class PendingLineSerializer(serializers.Serializer[Any]):
    """A charge that will be invoiced at the end of the period, as it is now."""

    description = serializers.CharField()
    meter = serializers.CharField(allow_null=True)
    quantity = QuantityField()
    unit = serializers.CharField()
    amount = MoneyField()


class ForecastSerializer(serializers.Serializer[Any]):
    """What the period is expected to cost at its end: of the last whole weeks the least, the average and the most."""

    low = MoneyField()
    expected = MoneyField()
    high = MoneyField()


class PeriodSpendSerializer(serializers.Serializer[Any]):
    """A billing period that runs."""

    period = PeriodSerializer()
    spend = MoneyField(help_text="Its charges so far, without what the invoice will carry from earlier ones.")
    lines = PendingLineSerializer(many=True)
    forecast = ForecastSerializer(allow_null=True, help_text="null: the reason says why there is none.")
    forecast_reason = serializers.CharField()
    budgets = BudgetStandingSerializer(many=True)


class SpendSerializer(serializers.Serializer[Any]):
    """What a customer spends."""

    customer_id = serializers.CharField()
    at = MomentField()
    periods = PeriodSpendSerializer(many=True)


class SpendView(generics.GenericAPIView[Any]):
    """Spend of one customer."""

    scopes = {"GET": "spend:read"}
    customer_bound = ("GET",)
    serializer_class = SpendSerializer

    @extend_schema(
        operation_id="get_spend",
        summary="Read what a customer has spent in the running period",
        description="Computed by the engine that bills, with every event accepted before: the charges that are pending,"
        " and how the budgets stand that hold for the customer.",
        responses=SpendSerializer,
        examples=[OpenApiExample("Acme in August", value=EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the spend."""
        filters_of(request, known=())
        check_customer_visible(request, key=key, field="key")
        customer, at = customer_by_key(key=key, field="key"), now()
        answer = {"customer_id": key, "at": at, "periods": read_spend(customer=customer, at=at)}
        return Response(SpendSerializer(answer).data)


class NoticeSerializer(serializers.ModelSerializer[SpendNotice]):
    """Something that was told once."""

    id = serializers.IntegerField()
    customer_id = serializers.CharField(source="customer.key")
    kind = serializers.CharField(
        help_text="`threshold`: part of a budget is reached. `pending`: the period's charges will be invoiced soon.",
    )
    period = serializers.SerializerMethodField()
    spend = MoneyField()
    budget = serializers.SerializerMethodField(help_text="The key of the budget; null for pending charges.")
    basis = serializers.ChoiceField(
        choices=[(basis.value, basis.value) for basis in Basis],
        help_text="`actual`: the spend so far. `projected`: what was expected of the whole period.",
    )
    threshold = serializers.IntegerField(allow_null=True, help_text="Percent of the budget.")
    amount = MoneyField(allow_null=True, help_text="The budget's amount then.")
    at_limit = serializers.CharField(help_text="What the budget said of its limit then; empty for pending charges.")
    noticed_at = MomentField()

    class Meta:
        model = SpendNotice
        fields = (
            "id",
            "customer_id",
            "kind",
            "period",
            "spend",
            "budget",
            "basis",
            "threshold",
            "amount",
            "at_limit",
            "noticed_at",
        )

    def get_period(self, notice: SpendNotice) -> PeriodSerializer:
        """Return the billing period."""
        return PeriodSerializer({"start": notice.period_start, "end": notice.period_end}).data  # type: ignore[return-value]

    def get_budget(self, notice: SpendNotice) -> str | None:
        """Return the budget's key."""
        return notice.budget.key if notice.budget else None


@extend_schema_view(
    get=extend_schema(
        operation_id="list_spend_notices",
        summary="List what was noticed about spend, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Only this customer's.")],
    )
)
class SpendNoticesView(generics.ListAPIView[SpendNotice]):
    """All notices."""

    scopes = {"GET": "spend:read"}
    customer_bound = ("GET",)
    serializer_class = NoticeSerializer

    def get_queryset(self) -> QuerySet[SpendNotice]:
        """Return the notices that the caller may see and asks for."""
        filters = filters_of(self.request, known=("customer_id",))
        found = SpendNotice.objects.select_related("customer", "budget")
        for key in {key for key in (bound_customer(self.request), filters.get("customer_id")) if key}:
            found = found.filter(customer__key=key)
        return found
