"""Disputed card payments over HTTP: listed as Stripe has them, with the money that each moved; a loss is accepted, a customer served again."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidInput, NotFound
from invoicing.api.base import actor_of, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, StrictSerializer, TextField
from invoicing.core.dispute_life import DisputeStatus
from invoicing.payments.dispute import DecisionKind, Dispute, DisputeDecision, DisputeMovement
from invoicing.payments.disputes import decide_about_dispute

EXAMPLE = {
    "id": "dp_1Pgc71B7WZ01zgkWMevJiAUx",
    "status": "lost",
    "customer_id": "cust_acme",
    "invoice": "INV-2026-00042",
    "payment": "ch_3PgafuB7WZ01zgkW1YmPNZs8",
    "amount": {"amount": "23.80", "currency": "EUR"},
    "reason": "fraudulent",
    "network_reason_code": "10.4",
    "evidence_due_at": "2026-09-12T23:59:59Z",
    "has_evidence": True,
    "opened_at": "2026-09-05T09:00:00Z",
    "closed_at": "2026-11-02T09:00:00Z",
    "movements": [
        {
            "kind": "withdrawn",
            "reference": "txn_1Pgc71B7WZ01zgkW",
            "amount": {"amount": "23.80", "currency": "EUR"},
            "occurred_at": "2026-09-05T09:00:00Z",
        },
        {
            "kind": "fee",
            "reference": "txn_1Pgc71B7WZ01zgkW/fee",
            "amount": {"amount": "15.00", "currency": "EUR"},
            "occurred_at": "2026-09-05T09:00:00Z",
        },
        {
            "kind": "lost",
            "reference": "dp_1Pgc71B7WZ01zgkWMevJiAUx/lost/1",
            "amount": {"amount": "23.80", "currency": "EUR"},
            "occurred_at": "2026-11-02T09:00:00Z",
        },
    ],
    "decisions": [
        {
            "kind": "unfreeze",
            "decided_at": "2026-09-06T10:00:00Z",
            "actor": "API key finance",
            "reason": "they say that it was a mistake of their bank",
        }
    ],
}


class MovementSerializer(serializers.ModelSerializer[DisputeMovement]):
    """What a dispute did to money."""

    amount = MoneyField()
    occurred_at = MomentField()

    class Meta:
        model = DisputeMovement
        fields = ("kind", "reference", "amount", "occurred_at")


class DecisionSerializer(serializers.ModelSerializer[DisputeDecision]):
    """What somebody decided about a dispute."""

    decided_at = MomentField()

    class Meta:
        model = DisputeDecision
        fields = ("kind", "decided_at", "actor", "reason")


class DisputeSerializer(serializers.ModelSerializer[Dispute]):
    """A payment by card that its bank questions."""

    id = serializers.CharField(source="stripe_id")
    customer_id = serializers.CharField(source="payment.customer.key")
    invoice = serializers.CharField(source="payment.invoice.number")
    payment = serializers.CharField(source="payment.reference")
    amount = MoneyField()
    evidence_due_at = MomentField(allow_null=True)
    opened_at = MomentField()
    closed_at = MomentField(allow_null=True)
    movements = MovementSerializer(many=True)
    decisions = DecisionSerializer(many=True)

    class Meta:
        model = Dispute
        fields = tuple(EXAMPLE)


class DecisionRequest(StrictSerializer):
    """What is decided, and why."""

    kind = serializers.ChoiceField(choices=DecisionKind.choices)
    reason = TextField(max_length=300)


def _disputes() -> QuerySet[Dispute]:
    rows = Dispute.objects.select_related("payment__customer", "payment__invoice")
    return rows.prefetch_related("movements", "decisions")


@extend_schema_view(
    get=extend_schema(
        operation_id="list_disputes",
        summary="List disputed card payments, newest first",
        parameters=[
            OpenApiParameter("customer_id", str, description="Only this customer's."),
            OpenApiParameter("invoice", str, description="Only those about the invoice with this number."),
            OpenApiParameter("status", str, description="Only those in this status, in Stripe's word."),
        ],
    )
)
class DisputesView(generics.ListAPIView[Dispute]):
    """All disputes."""

    scopes = {"GET": "disputes:read"}
    serializer_class = DisputeSerializer

    def get_queryset(self) -> QuerySet[Dispute]:
        """Return the disputes that the caller asks for."""
        filters = filters_of(self.request, known=("customer_id", "invoice", "status"))
        found = _disputes()
        if "customer_id" in filters:
            found = found.filter(payment__customer__key=filters["customer_id"])
        if "invoice" in filters:
            found = found.filter(payment__invoice__number=filters["invoice"])
        if "status" in filters:
            if filters["status"] not in set(DisputeStatus):
                raise InvalidInput(f"must be one of {', '.join(DisputeStatus)}", field="status", code="invalid_choice")
            found = found.filter(status=filters["status"])
        return found


class DisputeView(generics.GenericAPIView[Dispute]):
    """One dispute."""

    scopes = {"GET": "disputes:read"}
    serializer_class = DisputeSerializer

    @extend_schema(
        operation_id="get_dispute",
        summary="Read a disputed card payment",
        responses=DisputeSerializer,
        examples=[OpenApiExample("Lost", value=EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, stripe_id: str) -> Response:
        """Return it."""
        filters_of(request, known=())
        return Response(DisputeSerializer(_dispute(stripe_id)).data)


class DisputeDecisionView(generics.GenericAPIView[Dispute]):
    """What somebody decides about an open chargeback."""

    scopes = {"POST": "disputes:write"}
    serializer_class = DisputeSerializer

    @extend_schema(
        operation_id="decide_dispute",
        summary="Accept the loss of a chargeback, or serve its customer again",
        description="`accept` tells Stripe that no evidence will come: the dispute is lost soon after, for good. `unfreeze` lets the customer be served and charged"
        " while the bank decides. A second time changes nothing.",
        request=DecisionRequest,
        responses=DisputeSerializer,
        examples=[
            OpenApiExample(
                "Accept", value={"kind": "accept", "reason": "the card was stolen indeed"}, request_only=True
            ),
            OpenApiExample("Decided", value=EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, stripe_id: str) -> Response:
        """Decide."""
        fields: dict[str, Any] = read(DecisionRequest(data=request.data))
        decide_about_dispute(
            dispute_id=_dispute(stripe_id).pk,
            kind=fields["kind"],
            at=now(),
            actor=actor_of(request),
            reason=fields["reason"],
        )
        return Response(DisputeSerializer(_dispute(stripe_id)).data)


def _dispute(stripe_id: str) -> Dispute:
    found = _disputes().filter(stripe_id=stripe_id).first()
    if found is None:
        raise NotFound(f"there is no dispute {stripe_id!r}", field="dispute")
    return found
