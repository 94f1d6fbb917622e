"""Held invoices over HTTP: what the checks before issue found, and releasing a draft as it is."""

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
from invoicing.core.gate_states import GateState
from invoicing.gate.models import InvoiceHold
from invoicing.workflows.approve import release_invoice

STATES = tuple(state.value for state in GateState if state is not GateState.ISSUED)
DIGEST = "4f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c358f7c2a9d0b1e6c35"
RELEASE_EXAMPLE = {"digest": DIGEST, "reason": "asked the customer: a launch"}
HELD_EXAMPLE = {
    "id": 7,
    "customer_id": "cust_acme",
    "period_start": "2026-07-01T00:00:00Z",
    "period_end": "2026-08-01T00:00:00Z",
    "total": {"amount": "505.00", "currency": "USD"},
    "digest": DIGEST,
    "findings": [
        {"check": "spike", "message": "USD 505 charged, 4.8 × the usual USD 105 (the middle of the 3 invoices before)"}
    ],
    "state": "held",
    "held_at": "2026-08-01T01:00:00Z",
    "released_at": None,
    "released_by": "",
    "reason": "",
    "outcome": "",
}


class FindingSerializer(serializers.Serializer[Any]):
    """What a check found."""

    check = serializers.CharField()
    message = serializers.CharField(help_text="A sentence with its figures.")


class Release(StrictSerializer):
    """A release of a draft as it is."""

    digest = TextField(max_length=64, help_text="The `digest` of what was looked at.")
    reason = TextField(max_length=300)


class HeldInvoiceSerializer(serializers.ModelSerializer[InvoiceHold]):
    """A draft that is, or was, held."""

    customer_id = serializers.CharField(source="customer.key")
    period_start = MomentField()
    period_end = MomentField()
    total = MoneyField()
    digest = serializers.CharField(source="content_digest")
    findings = FindingSerializer(many=True)
    state = serializers.ChoiceField(
        choices=STATES,
        help_text="`held`, `ready` once it is released, `draft` where it is no longer held: see `outcome`.",
    )
    held_at = MomentField()
    released_at = MomentField(allow_null=True)

    class Meta:
        model = InvoiceHold
        fields = tuple(HELD_EXAMPLE)


class ReleaseAnswer(serializers.Serializer[Any]):
    """The held invoice, and the request for a second person where it takes one."""

    held_invoice = HeldInvoiceSerializer()
    approval = serializers.IntegerField(allow_null=True, help_text="It is large: somebody else approves this request.")


@extend_schema_view(
    get=extend_schema(
        operation_id="list_held_invoices",
        summary="List drafts held before issue, newest first",
        parameters=[OpenApiParameter("state", str, enum=STATES)],
    )
)
class HeldInvoicesView(generics.ListAPIView[InvoiceHold]):
    """All that was held."""

    scopes = {"GET": "billing_runs:read"}
    serializer_class = HeldInvoiceSerializer

    def get_queryset(self) -> QuerySet[InvoiceHold]:
        """Return those in the state that is asked for."""
        state = filters_of(self.request, known=("state",)).get("state")
        held = InvoiceHold.objects.select_related("customer")
        if state is not None and state not in STATES:
            raise InvalidInput(f"must be one of {', '.join(STATES)}", field="state", code="unknown")
        return held if state is None else held.filter(state=state)


class HeldInvoiceReleaseView(generics.GenericAPIView[InvoiceHold]):
    """The release of a held draft."""

    scopes = {"POST": "billing_runs:write"}
    serializer_class = ReleaseAnswer

    @extend_schema(
        operation_id="release_held_invoice",
        summary="Release a held draft as it is",
        description="The next billing run issues it. From the limit of its currency on somebody else has to approve: then it stays held,"
        " and `approval` names the request.",
        request=Release,
        responses=ReleaseAnswer,
        examples=[
            OpenApiExample("A launch", value=RELEASE_EXAMPLE, request_only=True),
            OpenApiExample("Large", value={"held_invoice": HELD_EXAMPLE, "approval": 32}, response_only=True),
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """Release it, or ask for a second person."""
        fields: dict[str, Any] = read(Release(data=request.data))
        if not (number.isdecimal() and len(number) < 19 and InvoiceHold.objects.filter(pk=int(number)).exists()):
            raise NotFound(f"there is no held invoice {number!r}", field="number")
        asked = release_invoice(hold_id=int(number), **fields, at=now(), actor=actor_of(request))
        held = InvoiceHold.objects.select_related("customer").get(pk=int(number))
        return Response(ReleaseAnswer({"held_invoice": held, "approval": asked.pk if asked else None}).data)
