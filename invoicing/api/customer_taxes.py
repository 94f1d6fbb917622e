"""Customers' tax over HTTP: where they are, by which number, and what they are exempt from."""

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

from billing_site.kernel.errors import NotFound
from invoicing.api.base import actor_of, bound_customer, check_customer_visible, filters_of, read
from invoicing.api.fields import MomentField, TextField
from invoicing.api.taxes import WHY, DatedSerializer, EndView, ReasonSerializer, adding, ending
from invoicing.customers.queries import customer_by_key
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.models import CustomerTax, TaxExemption, VatIdCheck
from invoicing.tax.operations import add_exemption, set_customer_tax
from invoicing.tax.queries import last_check
from invoicing.tax.stripe_tax import last_answers

CUSTOMER_TAX_EXAMPLE = {
    "country": "FR",
    "region": "",
    "vat_id": "FR40303265045",
    "postal_code": "75001",
    "city": "Paris",
    "line1": "1 rue de Rivoli",
}
CHECK_EXAMPLE = {
    "is_valid": True,
    "registered_name": "ACME SARL",
    "reference": "WAPIAAAAY0000001",
    "checked_at": "2026-08-01T09:27:00Z",
}
ANSWER_EXAMPLE = {
    "id": 7,
    "day": "2026-07-31",
    "kind": "reverse_charge",
    "rates": [{"jurisdiction": "FR", "name": "VAT", "rate": "0"}],
    "refusal": "",
    "refused_field": "",
    "stripe_id": "taxcalc_1RfYXC2eZvKYlo2C",
    "told_at": "2026-07-31T22:02:11Z",
}
EXEMPTION_EXAMPLE = {
    "customer_id": "cust_acme",
    "jurisdiction": "DE",
    "law": "Exempt under Art. 151(1)(b) of Directive 2006/112/EC",
    "evidence": "certificate 7, folder 12",
    "valid_from": "2026-01-01",
    "valid_to": "2027-01-01",
}


class NewExemption(DatedSerializer):
    """Why a customer pays no tax of a place."""

    customer_id = TextField(help_text="The customer's key.")
    jurisdiction = TextField(help_text="Where it holds: DE, US-CA.")
    law = TextField(help_text="The sentence on the invoice.")
    evidence = TextField(help_text="What proves it: the certificate's number, and where it is kept.")


class ExemptionSerializer(serializers.ModelSerializer[TaxExemption]):
    """An exemption."""

    customer_id = serializers.CharField(source="customer.key")
    law = serializers.CharField(source="reason", help_text="The sentence on the invoice.")

    class Meta:
        model = TaxExemption
        fields = ("id", "customer_id", "jurisdiction", "law", "evidence", "valid_from", "valid_to")


@extend_schema_view(
    get=extend_schema(
        operation_id="list_tax_exemptions",
        summary="List tax exemptions",
        parameters=[OpenApiParameter("customer_id", str, description="Of this customer only.")],
    )
)
class ExemptionsView(generics.ListAPIView[TaxExemption]):
    """Who pays no tax of a place, and what proves it."""

    scopes = {"GET": "taxes:read", "POST": "taxes:write"}
    customer_bound = ("GET",)
    serializer_class = ExemptionSerializer

    def get_queryset(self) -> QuerySet[TaxExemption]:
        """Return the exemptions that the caller may see."""
        filters = filters_of(self.request, known=("customer_id",))
        exemptions = TaxExemption.objects.select_related("customer")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            exemptions = exemptions.filter(customer__key=key)
        return exemptions

    @adding(
        operation_id="add_tax_exemption",
        summary="Add a tax exemption",
        request=NewExemption,
        answer=ExemptionSerializer,
        example=EXEMPTION_EXAMPLE,
    )
    def post(self, request: Request) -> Response:
        """Add it."""
        fields = read(NewExemption(data=request.data))
        customer = customer_by_key(key=fields.pop("customer_id"), field="customer_id")
        row = add_exemption(customer=customer, **fields, actor=actor_of(request))
        return Response(ExemptionSerializer(row).data, status=201)


class ExemptionEndView(EndView):
    """Ending an exemption."""

    serializer_class = ExemptionSerializer
    queryset = TaxExemption.objects.select_related("customer")
    noun = "tax exemption"

    @ending(operation_id="end_tax_exemption", noun=noun, serializer=ExemptionSerializer, example=EXEMPTION_EXAMPLE)
    def post(self, request: Request, number: str) -> Response:
        """End it."""
        return self._end(request, number)


class NewCustomerTax(ReasonSerializer):
    """Where a customer is, and by which number tax law knows it."""

    country = TextField(help_text="In two letters: FR.")
    region = TextField(required=False, allow_blank=True, help_text="Where regions have taxes of their own: CA, QC.")
    vat_id = TextField(
        required=False, allow_blank=True, help_text="Checked by the rules of its country; empty: a consumer."
    )
    postal_code = TextField(
        required=False, allow_blank=True, help_text="Where places within a region have taxes of their own: 10001."
    )
    city = TextField(required=False, allow_blank=True)
    line1 = TextField(required=False, allow_blank=True, help_text="Street and number.")


class TaxRateTold(serializers.Serializer[Any]):
    """A rate as it was told."""

    jurisdiction = serializers.CharField()
    name = serializers.CharField()
    rate = serializers.CharField(help_text="A fraction of one.")


class VatIdCheckSerializer(serializers.ModelSerializer[VatIdCheck]):
    """What a register said about a VAT id."""

    checked_at = MomentField()

    class Meta:
        model = VatIdCheck
        fields = ("is_valid", "registered_name", "reference", "checked_at")


class TaxAnswerSerializer(serializers.ModelSerializer[TaxAnswer]):
    """What Stripe Tax told about a customer and a day."""

    day = serializers.DateField(source="inquiry.day", help_text="Whose rates were asked for.")
    rates = TaxRateTold(many=True, help_text="Nothing where it was refused.")
    told_at = MomentField()

    class Meta:
        model = TaxAnswer
        fields = ("id", "day", "kind", "rates", "refusal", "refused_field", "stripe_id", "told_at")


class CustomerTaxSerializer(serializers.ModelSerializer[CustomerTax]):
    """What tax law has to know of a customer."""

    checked = serializers.SerializerMethodField(help_text="What its register said last; null: it was not asked.")
    told = serializers.SerializerMethodField(
        help_text="What Stripe Tax told last; null: nothing, or it does not decide."
    )

    class Meta:
        model = CustomerTax
        fields = ("country", "region", "vat_id", "postal_code", "city", "line1", "checked", "told")

    @extend_schema_field(VatIdCheckSerializer(allow_null=True))
    def get_checked(self, row: CustomerTax) -> Any:
        """Return the last answer about this VAT id."""
        last = last_check(row=row)
        return None if last is None else VatIdCheckSerializer(last).data

    @extend_schema_field(TaxAnswerSerializer(allow_null=True))
    def get_told(self, row: CustomerTax) -> Any:
        """Return the last answer of Stripe Tax about the customer."""
        answers = last_answers(customer_id=row.customer_id, count=1)
        return TaxAnswerSerializer(answers[0]).data if answers else None


class CustomerTaxView(generics.GenericAPIView[CustomerTax]):
    """The tax data of one customer."""

    scopes = {"GET": "taxes:read", "PUT": "taxes:write"}
    customer_bound = ("GET",)
    serializer_class = CustomerTaxSerializer

    @extend_schema(
        operation_id="get_customer_tax",
        summary="Read a customer's tax data",
        responses=CustomerTaxSerializer,
        examples=[
            OpenApiExample(
                "A French company",
                value=CUSTOMER_TAX_EXAMPLE | {"checked": CHECK_EXAMPLE, "told": ANSWER_EXAMPLE},
                response_only=True,
            )
        ],
    )
    def get(self, request: Request, key: str) -> Response:
        """Return it; 404 while nobody has said it."""
        check_customer_visible(request, key=key, field="key")
        row = CustomerTax.objects.filter(customer=customer_by_key(key=key, field="key")).first()
        if row is None:
            raise NotFound(f"nobody has said where {key} is for tax", field="country")
        return Response(CustomerTaxSerializer(row).data)

    @extend_schema(
        operation_id="set_customer_tax",
        summary="Say where a customer is for tax, and its VAT id",
        request=NewCustomerTax,
        responses=CustomerTaxSerializer,
        examples=[
            OpenApiExample("A French company", value=CUSTOMER_TAX_EXAMPLE | WHY, request_only=True),
            OpenApiExample(
                "A French company",
                value=CUSTOMER_TAX_EXAMPLE | {"checked": CHECK_EXAMPLE, "told": ANSWER_EXAMPLE},
                response_only=True,
            ),
        ],
    )
    def put(self, request: Request, key: str) -> Response:
        """Set it."""
        fields = read(NewCustomerTax(data=request.data))
        customer = customer_by_key(key=key, field="key")
        row = set_customer_tax(customer=customer, **fields, actor=actor_of(request))
        return Response(CustomerTaxSerializer(row).data)
