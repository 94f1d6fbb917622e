"""Tax over HTTP: of legal entities: settings, registrations and rates."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    extend_schema,
    extend_schema_field,
    extend_schema_view,
)
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.errors import NotFound
from billing_site.kernel.money import plain
from invoicing.api.base import actor_of, read
from invoicing.api.fields import StrictSerializer, TextField
from invoicing.core.numbers import Mistake, read_number
from invoicing.tax.models import ROUNDINGS, SellerTax, TaxRate, TaxRegistration
from invoicing.tax.operations import add_rate, add_registration, end_dated, set_seller_tax

NUMBER_DIGITS = 18
SETTINGS_EXAMPLE = {
    "legal_entity": "main",
    "valid_from": "2026-01-01",
    "country": "DE",
    "rounding": "per_invoice",
    "prices_include_tax": False,
    "reason": "registered for VAT",
}
REGISTRATION_EXAMPLE = {
    "legal_entity": "main",
    "jurisdiction": "DE",
    "number": "DE136695976",
    "valid_from": "2026-01-01",
    "valid_to": None,
}
RATE_EXAMPLE = {
    "jurisdiction": "DE",
    "name": "VAT",
    "rate": "0.19",
    "valid_from": "2026-01-01",
    "valid_to": None,
}
OF_SELLER = "The key of who sells; left out it is the first, main."
WHY = {"reason": "as of the tax office's letter"}


@extend_schema_field(OpenApiTypes.STR)
class RateField(serializers.Field[Any, Any, str, Any]):
    """A rate as a fraction of one, a decimal string."""

    default_error_messages = {"number": "{message}"}

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the number."""
        number = read_number(data)
        if isinstance(number, Mistake):
            self.fail("number", message=number.message)
        return number

    def to_representation(self, value: Decimal) -> str:
        """Write it without trailing zeros."""
        return plain(value)


class ReasonSerializer(StrictSerializer):
    """Why."""

    reason = TextField(max_length=300)


class NewSellerTax(ReasonSerializer):
    """How a legal entity charges tax from a day on."""

    legal_entity = TextField(required=False, max_length=30, help_text=OF_SELLER)
    valid_from = serializers.DateField(help_text="Invoices whose period ends on that day or later.")
    country = TextField(help_text="Where the company is established, in two letters.")
    rounding = serializers.ChoiceField(
        choices=ROUNDINGS, required=False, help_text="Left out: as the law of the country asks."
    )
    prices_include_tax = serializers.BooleanField(required=False, help_text="Default: tax comes on top.")


class SellerTaxSerializer(serializers.ModelSerializer[SellerTax]):
    """Settings, and who said so."""

    legal_entity = serializers.CharField(source="legal_entity_id", help_text="The key of who sells.")

    class Meta:
        model = SellerTax
        fields = (
            "legal_entity",
            "valid_from",
            "country",
            "rounding",
            "prices_include_tax",
            "actor",
            "reason",
            "recorded_at",
        )


class DatedSerializer(ReasonSerializer):
    """What holds from a day on."""

    valid_from = serializers.DateField(help_text="The first day.")
    valid_to = serializers.DateField(
        required=False, allow_null=True, help_text="The first day on which it holds no more; null: it goes on."
    )


class NewRegistration(DatedSerializer):
    """Where a legal entity is registered for tax."""

    legal_entity = TextField(required=False, max_length=30, help_text=OF_SELLER)
    jurisdiction = TextField(help_text="A country, or a region of one: DE, US-CA; EU for the One-Stop Shop.")
    number = TextField(help_text="The number that stands on invoices.")


class NewRate(DatedSerializer):
    """A rate of a place."""

    jurisdiction = TextField(help_text="A country, or a region of one: DE, US-CA.")
    name = TextField(help_text="What stands on invoices: VAT.")
    rate = RateField(help_text='A fraction of one: "0.19" is 19 %.')


class RegistrationSerializer(serializers.ModelSerializer[TaxRegistration]):
    """A registration."""

    legal_entity = serializers.CharField(source="legal_entity_id", help_text="The key of who sells.")

    class Meta:
        model = TaxRegistration
        fields = ("id", "legal_entity", "jurisdiction", "number", "valid_from", "valid_to")


class RateSerializer(serializers.ModelSerializer[TaxRate]):
    """A rate."""

    rate = RateField(help_text="A fraction of one.")

    class Meta:
        model = TaxRate
        fields = ("id", "jurisdiction", "name", "rate", "valid_from", "valid_to")


class EndRequest(ReasonSerializer):
    """From when on it holds no more."""

    valid_to = serializers.DateField(
        allow_null=True, help_text="The first day without it; its own first day takes it back, null lets it go on."
    )


@extend_schema_view(get=extend_schema(operation_id="list_tax_settings", summary="List the tax settings of sellers"))
class SellerTaxView(generics.ListAPIView[SellerTax]):
    """How legal entities charge tax: of the settings of each that have begun the latest holds."""

    scopes = {"GET": "taxes:read", "POST": "taxes:write"}
    serializer_class = SellerTaxSerializer
    queryset = SellerTax.objects.all()

    @extend_schema(
        operation_id="set_tax_settings",
        summary="Say how a legal entity charges tax from a day on",
        description="Without any settings no tax is charged. Invoices that are issued stay as they are.",
        request=NewSellerTax,
        responses={201: SellerTaxSerializer},
        examples=[
            OpenApiExample("Germany", value=SETTINGS_EXAMPLE, request_only=True),
            OpenApiExample(
                "Germany",
                value=SETTINGS_EXAMPLE | {"actor": "api key billing", "recorded_at": "2026-01-05T10:00:00Z"},
                response_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Set them."""
        fields = read(NewSellerTax(data=request.data))
        return Response(SellerTaxSerializer(set_seller_tax(**fields, actor=actor_of(request))).data, status=201)


class EndView(generics.GenericAPIView[Any]):
    """Ending a dated row."""

    scopes = {"POST": "taxes:write"}
    noun: ClassVar[str]

    def _end(self, request: Request, number: str) -> Response:
        fields = read(EndRequest(data=request.data))
        found = self.get_queryset().filter(pk=number).first() if _is_number(number) else None
        if found is None:
            raise NotFound(f"there is no {self.noun} {number!r}", field="id")
        ended = end_dated(row=found, **fields, actor=actor_of(request))
        return Response(self.get_serializer(ended).data)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS


def ending(*, operation_id: str, noun: str, serializer: type[Any], example: dict[str, Any]) -> Callable[..., Any]:
    """Return how the schema tells that a dated row is ended."""
    return extend_schema(
        operation_id=operation_id,
        summary=f"End a {noun}",
        description="Invoices that are issued keep what they were taxed by.",
        request=EndRequest,
        responses=serializer,
        examples=[
            OpenApiExample("From August on", value={"valid_to": "2026-08-01", **WHY}, request_only=True),
            OpenApiExample("Ended", value={"id": 3, **example, "valid_to": "2026-08-01"}, response_only=True),
        ],
    )


def adding(*, operation_id: str, summary: str, request: type[Any], answer: type[Any], example: dict[str, Any]) -> Any:
    """Return how the schema tells that a dated row is added."""
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description="The same a second time is the one that exists.",
        request=request,
        responses={201: answer},
        examples=[
            OpenApiExample("Such as", value=example | WHY, request_only=True),
            OpenApiExample("Such as", value={"id": 3, **example}, response_only=True),
        ],
    )


@extend_schema_view(get=extend_schema(operation_id="list_tax_registrations", summary="List tax registrations"))
class RegistrationsView(generics.ListAPIView[TaxRegistration]):
    """Where legal entities are registered for tax."""

    scopes = {"GET": "taxes:read", "POST": "taxes:write"}
    serializer_class = RegistrationSerializer
    queryset = TaxRegistration.objects.all()

    @adding(
        operation_id="add_tax_registration",
        summary="Add a tax registration",
        request=NewRegistration,
        answer=RegistrationSerializer,
        example=REGISTRATION_EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Add it."""
        row = add_registration(**read(NewRegistration(data=request.data)), actor=actor_of(request))
        return Response(RegistrationSerializer(row).data, status=201)


class RegistrationEndView(EndView):
    """Ending a registration."""

    serializer_class = RegistrationSerializer
    queryset = TaxRegistration.objects.all()
    noun = "tax registration"

    @ending(
        operation_id="end_tax_registration", noun=noun, serializer=RegistrationSerializer, example=REGISTRATION_EXAMPLE
    )
    def post(self, request: Request, number: str) -> Response:
        """End it."""
        return self._end(request, number)


@extend_schema_view(get=extend_schema(operation_id="list_tax_rates", summary="List tax rates"))
class RatesView(generics.ListAPIView[TaxRate]):
    """Rates of tax, each of a place and some days."""

    scopes = {"GET": "taxes:read", "POST": "taxes:write"}
    serializer_class = RateSerializer
    queryset = TaxRate.objects.all()

    @adding(
        operation_id="add_tax_rate",
        summary="Add a tax rate",
        request=NewRate,
        answer=RateSerializer,
        example=RATE_EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Add it."""
        row = add_rate(**read(NewRate(data=request.data)), actor=actor_of(request))
        return Response(RateSerializer(row).data, status=201)


class RateEndView(EndView):
    """Ending a rate."""

    serializer_class = RateSerializer
    queryset = TaxRate.objects.all()
    noun = "tax rate"

    @ending(operation_id="end_tax_rate", noun=noun, serializer=RateSerializer, example=RATE_EXAMPLE)
    def post(self, request: Request, number: str) -> Response:
        """End it."""
        return self._end(request, number)
