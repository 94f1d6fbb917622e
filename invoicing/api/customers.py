"""Customers over HTTP (S1-098)."""

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
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import round_money, wire
from invoicing.api.base import actor_of, bound_customer, check_customer_visible, filters_of, read
from invoicing.api.fields import MomentField, MoneyField, NewMoneyField, StrictSerializer, TextField, WholeField
from invoicing.core.languages import LANGUAGES
from invoicing.customers.life_cycle import state_of, with_state
from invoicing.customers.models import GRACE_HOURS_MAX, Customer, LateUsagePolicy, SettlementChannel
from invoicing.customers.operations import change_customer, create_customer
from invoicing.customers.queries import customer_by_key

REQUEST_EXAMPLE = {
    "key": "cust_acme",
    "name": "Acme GmbH",
    "legal_entity": "main",
    "billed_to": "",
    "email": "billing@acme.example",
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "address": "Hauptstraße 1\n10115 Berlin",
    "tax_id": "DE123456789",
    "language": "de",
    "settlement_channel": "stripe",
    "net_terms_days": 14,
    "late_usage_policy": "next_invoice",
    "late_materiality": {"amount": "1.00", "currency": "EUR"},
    "grace_hours": 48,
}
ANSWER_EXAMPLE = REQUEST_EXAMPLE | {"payment_method": "", "state": "trial", "created_at": "2026-08-01T09:00:00Z"}


class CustomerTerms(StrictSerializer):
    """What may change about a customer."""

    name = TextField(required=False, max_length=300)
    legal_entity = TextField(
        required=False,
        max_length=30,
        help_text="The key of who sells to it; left out of a new customer it is the first, main. It stays once there is an invoice or credit.",
    )
    billed_to = TextField(
        required=False,
        allow_blank=True,
        max_length=100,
        help_text="The key of the customer who gets one invoice for it and pays it; empty: it is billed itself. It stays once it is invoiced.",
    )
    email = TextField(required=False, allow_blank=True)
    address = TextField(required=False, allow_blank=True, help_text="Lines separated by line feeds.")
    tax_id = TextField(required=False, allow_blank=True)
    language = serializers.ChoiceField(
        required=False,
        allow_blank=True,
        choices=[(language.code, language.name) for language in LANGUAGES.values()],
        help_text="Of invoices and credit notes; empty: the one of the house.",
    )
    settlement_channel = serializers.ChoiceField(required=False, choices=SettlementChannel.choices)
    net_terms_days = WholeField(required=False, min_value=0, max_value=365, help_text="From issue to due date.")
    payment_method = TextField(required=False, allow_blank=True, help_text="Stripe's payment method: pm_…")
    late_usage_policy = serializers.ChoiceField(
        required=False,
        choices=LateUsagePolicy.choices,
        help_text="What becomes of usage that arrives, or is cancelled, after its invoice was issued.",
    )
    late_materiality = NewMoneyField(
        required=False,
        help_text="In the customer's currency: late usage that changes an invoice line by less is absorbed.",
    )
    grace_hours = WholeField(
        required=False,
        min_value=0,
        max_value=GRACE_HOURS_MAX,
        help_text="So long after the end of a period late usage still joins its invoice before it is issued.",
    )


class NewCustomer(CustomerTerms):
    """A customer to be created; key, currency and time zone stay for ever."""

    key = TextField(max_length=100, help_text="The customer_id on usage events.")
    name = TextField(max_length=300)
    email = TextField(allow_blank=True)
    currency = TextField(help_text="ISO 4217.")
    timezone = TextField(required=False, help_text="IANA name; billing periods begin at midnight there. Default UTC.")


class CustomerSerializer(serializers.ModelSerializer[Customer]):
    """A customer as it is."""

    legal_entity = serializers.CharField(source="legal_entity_id", help_text="The key of who sells to it.")
    billed_to = serializers.SerializerMethodField(
        help_text="The key of who gets one invoice for it; empty: it is billed itself."
    )
    late_materiality = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField(
        help_text="trial, active, past_due, suspended or churned, as it was last recorded; the access answer is of this moment."
    )
    created_at = MomentField()

    class Meta:
        model = Customer
        fields = (
            "key",
            "name",
            "legal_entity",
            "billed_to",
            "email",
            "currency",
            "timezone",
            "address",
            "tax_id",
            "language",
            "settlement_channel",
            "net_terms_days",
            "payment_method",
            "late_usage_policy",
            "late_materiality",
            "grace_hours",
            "state",
            "created_at",
        )

    def get_billed_to(self, customer: Customer) -> str:
        """Return the key of who pays."""
        return "" if customer.billed_to is None else customer.billed_to.key

    def get_state(self, customer: Customer) -> str:
        """Return where the customer stands in its life."""
        read: str | None = getattr(customer, "state", None)
        return read or state_of(customer=customer).value

    @extend_schema_field(MoneyField)
    def get_late_materiality(self, customer: Customer) -> dict[str, str]:
        """Return the amount with the customer's currency."""
        return wire(round_money(customer.late_materiality, customer.currency))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_customers",
        summary="List customers, newest first",
        parameters=[OpenApiParameter("billed_to", str, description="Only the accounts that are billed to this one.")],
    )
)
class CustomersView(generics.ListAPIView[Customer]):
    """All customers."""

    scopes = {"GET": "customers:read", "POST": "customers:write"}
    customer_bound = ("GET",)
    serializer_class = CustomerSerializer

    def get_queryset(self) -> QuerySet[Customer]:
        """Return the customers that the caller may see."""
        filters = filters_of(self.request, known=("billed_to",))
        customers = with_state(Customer.objects.select_related("billed_to"))
        if bound := bound_customer(self.request):
            customers = customers.filter(key=bound)
        return customers.filter(billed_to__key=filters["billed_to"]) if "billed_to" in filters else customers

    @extend_schema(
        operation_id="create_customer",
        summary="Create a customer",
        description="The same key and content a second time is the customer that exists; other content is a 409.",
        request=NewCustomer,
        responses={201: CustomerSerializer},
        examples=[
            OpenApiExample("Acme", value=REQUEST_EXAMPLE, request_only=True),
            OpenApiExample("Acme", value=ANSWER_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Create a customer."""
        fields = read(NewCustomer(data=request.data))
        fields = _with_plain_amount(fields, currency=fields["currency"])
        customer = create_customer(**fields, actor=actor_of(request), reason="created over the API")
        customer.refresh_from_db(fields=["created_at"])
        return Response(CustomerSerializer(customer).data, status=201)


class CustomerView(generics.GenericAPIView[Customer]):
    """One customer."""

    scopes = {"GET": "customers:read", "PATCH": "customers:write"}
    customer_bound = ("GET", "PATCH")
    serializer_class = CustomerSerializer

    @extend_schema(operation_id="get_customer", summary="Read a customer", responses=CustomerSerializer)
    def get(self, request: Request, key: str) -> Response:
        """Return the customer."""
        return Response(CustomerSerializer(self._customer(key)).data)

    @extend_schema(
        operation_id="change_customer",
        summary="Change a customer",
        request=CustomerTerms,
        responses=CustomerSerializer,
        examples=[OpenApiExample("New terms", value={"net_terms_days": 30}, request_only=True)],
    )
    def patch(self, request: Request, key: str) -> Response:
        """Change the fields that are given."""
        customer = self._customer(key)
        changes: dict[str, Any] = read(CustomerTerms(data=request.data))
        if bound_customer(request) and not set(changes) <= {"name", "email", "address", "tax_id", "language"}:
            raise PermissionDenied("a key that is bound to a customer cannot change terms of payment")
        changes = _with_plain_amount(changes, currency=customer.currency)
        changed = change_customer(
            customer=customer, changes=changes, actor=actor_of(request), reason="changed over the API"
        )
        return Response(CustomerSerializer(changed).data)

    def _customer(self, key: str) -> Customer:
        check_customer_visible(self.request, key=key, field="key")
        return customer_by_key(key=key, field="key")


def _with_plain_amount(fields: dict[str, Any], *, currency: str) -> dict[str, Any]:
    """Return the fields with the materiality as a number; raises InvalidInput where it is in another currency."""
    if "late_materiality" not in fields:
        return fields
    money = fields["late_materiality"]
    if money.currency.code != currency:
        message = f"must be in the customer's currency, {currency}"
        raise InvalidInput(message, field="late_materiality", code="currency_differs")
    return fields | {"late_materiality": money.amount}
