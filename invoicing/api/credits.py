"""Credit grants over HTTP: given, looked at with what became of them, taken back; and what a customer has."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.money import wire
from invoicing.api.base import actor_of, bound_customer, check_customer_visible, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.credits.models import CREDIT_KINDS, PRIORITY_DEFAULT, PRIORITY_MAX, CreditEntry, CreditGrant
from invoicing.credits.operations import GrantTerms, grant_by_key, grant_credit, void_credit
from invoicing.customers.queries import customer_by_key
from invoicing.workflows.credit_balance import credit_balance

REQUEST_EXAMPLE = {
    "key": "welcome-acme",
    "customer_id": "cust_acme",
    "kind": "promotional",
    "name": "Welcome credit",
    "amount": {"amount": "100.00", "currency": "EUR"},
    "expires_at": "2027-01-01T00:00:00Z",
    "meters": ["tokens"],
    "reason": "signed up at the fair",
}
ENTRY_EXAMPLE = {
    "sequence": 1,
    "kind": "grant",
    "amount": {"amount": "100.00", "currency": "EUR"},
    "balance": {"amount": "100.00", "currency": "EUR"},
    "invoice": "",
    "occurred_at": "2026-08-01T09:00:00Z",
    "reason": "signed up at the fair",
}
GRANT_EXAMPLE = REQUEST_EXAMPLE | {
    "priority": 50,
    "effective_at": "2026-08-01T09:00:00Z",
    "plans": [],
    "granted_at": "2026-08-01T09:00:00Z",
    "balance": {"amount": "100.00", "currency": "EUR"},
    "entries": [ENTRY_EXAMPLE],
}


class NewGrant(StrictSerializer):
    """Credit to be given, or that was paid into the bank."""

    key = TextField(max_length=100, help_text="The same key a second time is the grant that exists.")
    customer_id = TextField(help_text="The customer's key.")
    kind = serializers.ChoiceField(choices=CREDIT_KINDS)
    name = TextField(max_length=200, help_text="What stands on invoices.")
    amount = NewMoneyField(help_text="In the customer's currency.")
    effective_at = MomentField(required=False, help_text="It pays for periods that end after it. Default: now.")
    expires_at = MomentField(required=False, allow_null=True, help_text="It pays for periods that end then or before.")
    priority = WholeField(
        required=False, min_value=0, max_value=PRIORITY_MAX, help_text="The smaller is drawn first. Default: 50."
    )
    plans = serializers.ListField(child=TextField(), required=False, help_text="Keys; none: all.")
    meters = serializers.ListField(child=TextField(), required=False, help_text="Keys; none: fees too.")
    reason = TextField(max_length=300)


class EntrySerializer(serializers.ModelSerializer[CreditEntry]):
    """One change of what is left."""

    amount = MoneyField()
    balance = MoneyField(help_text="What is left after it.")
    invoice = serializers.CharField(source="reference", help_text="The invoice that was paid for; empty: none.")
    occurred_at = MomentField()

    class Meta:
        model = CreditEntry
        fields = ("sequence", "kind", "amount", "balance", "invoice", "occurred_at", "reason")


class GrantSerializer(serializers.ModelSerializer[CreditGrant]):
    """A grant with everything that became of it."""

    customer_id = serializers.CharField(source="customer.key")
    amount = MoneyField()
    effective_at = MomentField()
    expires_at = MomentField(allow_null=True)
    granted_at = MomentField()
    balance = serializers.SerializerMethodField()
    entries = serializers.SerializerMethodField()

    class Meta:
        model = CreditGrant
        fields = (
            "key",
            "customer_id",
            "kind",
            "name",
            "amount",
            "balance",
            "priority",
            "effective_at",
            "expires_at",
            "plans",
            "meters",
            "granted_at",
            "reason",
            "entries",
        )

    @extend_schema_field(MoneyField)
    def get_balance(self, grant: CreditGrant) -> dict[str, str]:
        """Return what is left."""
        return wire(max(grant.entries.all(), key=lambda entry: entry.sequence).balance)

    @extend_schema_field(EntrySerializer(many=True))
    def get_entries(self, grant: CreditGrant) -> Any:
        """Return the entries, the first first."""
        return EntrySerializer(sorted(grant.entries.all(), key=lambda entry: entry.sequence), many=True).data


@extend_schema_view(
    get=extend_schema(
        operation_id="list_credit_grants",
        summary="List credit grants, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Of this customer only.")],
    )
)
class CreditGrantsView(generics.ListAPIView[CreditGrant]):
    """All grants."""

    scopes = {"GET": "credits:read", "POST": "credits:write"}
    customer_bound = ("GET",)
    serializer_class = GrantSerializer

    def get_queryset(self) -> QuerySet[CreditGrant]:
        """Return the grants that the caller may see."""
        filters = filters_of(self.request, known=("customer_id",))
        grants = CreditGrant.objects.select_related("customer").prefetch_related("entries")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            grants = grants.filter(customer__key=key)
        return grants

    @extend_schema(
        operation_id="grant_credit",
        summary="Grant credit",
        description="Promotional credit is given; prepaid credit has been paid into the bank, and is owed to the customer until it is drawn.",
        request=NewGrant,
        responses={201: GrantSerializer},
        examples=[
            OpenApiExample("Welcome credit", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("Welcome credit", value=GRANT_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Grant credit."""
        fields = read(NewGrant(data=request.data))
        customer = customer_by_key(key=fields.pop("customer_id"), field="customer_id")
        reason, at = fields.pop("reason"), now()
        existing = CreditGrant.objects.filter(key=fields["key"]).first()
        # The same request a second time means the moment that the first one took effect.
        fields.setdefault("effective_at", at if existing is None else existing.effective_at)
        fields.setdefault("priority", PRIORITY_DEFAULT)
        grant = grant_credit(
            customer=customer, terms=GrantTerms(**fields), at=at, actor=actor_of(request), reason=reason
        )
        return Response(GrantSerializer(grant).data, status=201)


class CreditGrantView(generics.GenericAPIView[CreditGrant]):
    """One grant."""

    scopes = {"GET": "credits:read"}
    customer_bound = ("GET",)
    serializer_class = GrantSerializer

    @extend_schema(
        operation_id="get_credit_grant",
        summary="Read a credit grant",
        responses=GrantSerializer,
        examples=[OpenApiExample("Welcome credit", value=GRANT_EXAMPLE, response_only=True)],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it with its entries."""
        grant = grant_by_key(key=key, of_customer=bound_customer(request))
        return Response(GrantSerializer(grant).data)


class VoidRequest(StrictSerializer):
    """Why credit is taken back."""

    reason = TextField(max_length=300)


class CreditVoidView(generics.GenericAPIView[CreditGrant]):
    """Taking back what is left of a promotional grant."""

    scopes = {"POST": "credits:write"}
    serializer_class = GrantSerializer

    @extend_schema(
        operation_id="void_credit_grant",
        summary="Take back what is left of a promotional grant",
        request=VoidRequest,
        responses=GrantSerializer,
        examples=[
            OpenApiExample("Why", value={"reason": "given twice"}, request_only=True),
            OpenApiExample("Taken back", value=GRANT_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request, key: str) -> Response:
        """Take it back."""
        fields = read(VoidRequest(data=request.data))
        void_credit(key=key, at=now(), actor=actor_of(request), reason=fields["reason"])
        return Response(GrantSerializer(grant_by_key(key=key)).data)


class BalanceSerializer(serializers.Serializer[Any]):
    """What credit a customer has."""

    customer_id = serializers.CharField()
    balance = MoneyField(help_text="What is left of the grants.")
    live_balance = MoneyField(
        allow_null=True,
        help_text="Less what is due and not issued, and what the running periods would take if they ended now; null where that cannot be computed.",
    )


class CreditBalanceView(generics.GenericAPIView[Any]):
    """The balance of one customer."""

    scopes = {"GET": "credits:read"}
    customer_bound = ("GET",)
    serializer_class = BalanceSerializer

    @extend_schema(
        operation_id="get_credit_balance",
        summary="Read a customer's credit balance, with usage that is not billed yet",
        responses=BalanceSerializer,
        examples=[
            OpenApiExample(
                "Some used",
                value={
                    "customer_id": "cust_acme",
                    "balance": {"amount": "100.00", "currency": "EUR"},
                    "live_balance": {"amount": "73.50", "currency": "EUR"},
                },
                response_only=True,
            )
        ],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it."""
        check_customer_visible(request, key=key, field="key")
        customer = customer_by_key(key=key, field="key")
        found = credit_balance(customer=customer, at=now())
        return Response(
            {
                "customer_id": customer.key,
                "balance": wire(found.booked),
                "live_balance": None if found.live is None else wire(found.live),
            }
        )
