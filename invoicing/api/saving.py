"""A savings tip over HTTP: what the last invoices would have come to on other plans."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from invoicing.api.base import check_customer_visible, filters_of
from invoicing.api.fields import MoneyField
from invoicing.customers.queries import customer_by_key
from invoicing.workflows.find_saving import find_saving

EXAMPLE = {
    "invoices": ["INV-2026-00012", "INV-2026-00007"],
    "paid": {"amount": "158.00", "currency": "USD"},
    "plans": [
        {
            "plan": "flat",
            "version": 1,
            "amount": {"amount": "120.00", "currency": "USD"},
            "saved": {"amount": "38.00", "currency": "USD"},
        }
    ],
    "tip": {
        "plan": "flat",
        "version": 1,
        "amount": {"amount": "120.00", "currency": "USD"},
        "saved": {"amount": "38.00", "currency": "USD"},
    },
    "why_none": "",
}


class PlanComparisonSerializer(serializers.Serializer[Any]):
    """The invoices on another plan."""

    plan = serializers.CharField(source="version.plan.key")
    version = serializers.IntegerField(source="version.number")
    amount = MoneyField()
    saved = MoneyField(help_text="Negative where it would have cost more.")


class SavingSerializer(serializers.Serializer[Any]):
    """The last invoices against the plans that are sold."""

    invoices = serializers.SerializerMethodField(help_text="Their numbers, the newest first.")
    paid = MoneyField(allow_null=True, help_text="Their charges, without corrections of earlier invoices.")
    plans = PlanComparisonSerializer(many=True, help_text="The cheapest first.")
    tip = PlanComparisonSerializer(allow_null=True, help_text="The cheapest, if it is cheaper.")
    why_none = serializers.CharField(help_text="Why nothing could be compared; empty otherwise.")

    def get_invoices(self, saving: Any) -> list[str]:
        """Return the numbers."""
        return [str(invoice.number) for invoice in saving.invoices]


class SavingView(generics.GenericAPIView[Any]):
    """The savings tip of one customer."""

    scopes = {"GET": "spend:read"}
    customer_bound = ("GET",)
    serializer_class = SavingSerializer

    @extend_schema(
        operation_id="get_saving",
        summary="Ask what a customer would have paid on other plans",
        description="The last three invoices, computed again by the engine that billed them on each plan of the product that"
        " is sold by the same periods and charges the same meters.",
        responses=SavingSerializer,
        examples=[OpenApiExample("Flat would have been cheaper", value=EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return the comparison."""
        filters_of(request, known=())
        check_customer_visible(request, key=key, field="key")
        saving = find_saving(customer=customer_by_key(key=key, field="key"), at=now())
        return Response(SavingSerializer(saving).data)
