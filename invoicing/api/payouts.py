"""Stripe's payouts over HTTP: how far each is, what of it is on no bank statement, and what it was made of beside our books."""

from typing import Any

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import round_money, wire
from invoicing.api.base import filters_of
from invoicing.api.fields import MomentField, MoneyField
from invoicing.payments.payout import Payout, PayoutStatus
from invoicing.workflows.match_payouts import with_left_on_way

EXAMPLE = {
    "id": "po_1SandboxPayout",
    "status": "paid",
    "amount": {"amount": "115.25", "currency": "EUR"},
    "on_no_statement": {"amount": "0.00", "currency": "EUR"},
    "arrival_date": "2026-07-15",
    "descriptor": "STRIPE",
    "trace": "TRACE4711",
    "failure_message": "",
    "transaction_count": 3,
    "unexplained_count": 0,
    "created_at": "2026-07-13T00:00:00Z",
}


class PayoutSerializer(serializers.ModelSerializer[Payout]):
    """A payout as Stripe has it, beside the bank and the books."""

    id = serializers.CharField(source="stripe_id")
    amount = MoneyField()
    on_no_statement = serializers.SerializerMethodField()
    transaction_count = serializers.IntegerField()
    unexplained_count = serializers.IntegerField()
    created_at = MomentField()

    class Meta:
        model = Payout
        fields = tuple(EXAMPLE)

    def get_on_no_statement(self, payout: Any) -> dict[str, str]:
        """Return what of it is on no bank line, signed as the payout."""
        return wire(round_money(payout.on_way, payout.currency))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_payouts",
        summary="List Stripe's payouts, newest first, with what of each is on no bank statement and not explained",
        parameters=[
            OpenApiParameter("status", str, enum=PayoutStatus.values, description="Only those of this status.")
        ],
    )
)
class PayoutsView(generics.ListAPIView[Payout]):
    """All payouts."""

    scopes = {"GET": "payouts:read"}
    serializer_class = PayoutSerializer

    def get_queryset(self) -> QuerySet[Any]:
        """Return the payouts that the caller asks for."""
        filters = filters_of(self.request, known=("status",))
        if filters.get("status", PayoutStatus.PAID) not in PayoutStatus.values:
            raise InvalidInput(f"must be one of {', '.join(PayoutStatus.values)}", field="status")
        found = with_left_on_way(Payout.objects.all()).annotate(
            transaction_count=Count("transactions"),
            unexplained_count=Count("transactions", filter=Q(transactions__explained_at__isnull=True)),
        )
        return found.filter(status=filters["status"]) if "status" in filters else found
