"""The catalog's plans over HTTP, in the shape of a catalog file."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel import clock
from billing_site.kernel.errors import FieldError, InvalidFields, Malformed, NotFound
from invoicing.api.base import actor_of, filters_of
from invoicing.api.fields import MomentField
from invoicing.api.prices import PRICE_HELP
from invoicing.catalog.models import Plan, PlanVersion, Price
from invoicing.catalog.operations import price_document
from invoicing.catalog.queries import with_rates
from invoicing.catalog.spend import spend_documents
from invoicing.workflows.publish_prices import load_prices

REQUEST_EXAMPLE = {
    "key": "pro",
    "name": "Pro",
    "product": {"key": "platform", "name": "Platform"},
    "cadence": "month",
    "prices": [
        {"key": "base", "name": "Base fee", "currency": "EUR", "model": "flat", "unit_amount": "49"},
        {
            "key": "tokens",
            "name": "Tokens",
            "meter": "tokens",
            "currency": "EUR",
            "model": "graduated",
            "tiers": [
                {"up_to": "1000000", "unit_amount": "0.00002"},
                {"up_to": None, "unit_amount": "0.000015"},
            ],
        },
    ],
}
ENTRY_PATH = "plans[0]."


class PriceDocument(serializers.Serializer[Any]):
    """A price as in a catalog file; which members there are depends on its model."""

    key = serializers.CharField()
    name = serializers.CharField(required=False)
    meter = serializers.CharField(required=False, allow_null=True, help_text="Not with a flat price.")
    currency = serializers.CharField()
    model = serializers.CharField(help_text=PRICE_HELP)
    in_advance = serializers.BooleanField(
        required=False, help_text="Of a flat price: invoiced before its billing period begins, and settled after it."
    )


class SpendDocument(serializers.Serializer[Any]):
    """What a subscription owes at least and at most per billing period; a partial one owes its share."""

    currency = serializers.CharField()
    minimum_spend = serializers.CharField(required=False, help_text="A true-up lifts the bill to it.")
    maximum_spend = serializers.CharField(required=False, help_text="What is charged above it is taken off.")


class PlanDocument(serializers.Serializer[Any]):
    """A plan as in a catalog file."""

    key = serializers.CharField()
    name = serializers.CharField(required=False)
    product = serializers.JSONField(help_text='The key of a product, or a new one: {"key": …, "name": …}.')
    cadence = serializers.ChoiceField(required=False, choices=["week", "month", "quarter", "year"])
    proration = serializers.ChoiceField(
        required=False, choices=["second", "day", "none"], help_text="How a change divides fees. Default: second."
    )
    tiers_on_change = serializers.ChoiceField(
        required=False,
        choices=["reset", "carry"],
        help_text="Tiers, free units and packages where the plan begins within a period. Default: reset.",
    )
    effective_from = MomentField(
        required=False,
        help_text="New subscriptions take these prices from then on. Default: now; a first version, ever.",
    )
    effective_to = MomentField(required=False, help_text="They are sold until then. Default: until others are.")
    add_on_to = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Keys of plans: sold only together with one of them."
    )
    prices = PriceDocument(many=True)
    spend = SpendDocument(
        many=True, required=False, help_text="Minimum and maximum spend of a subscription, one entry a currency."
    )


class PlanVersionSerializer(serializers.ModelSerializer[PlanVersion]):
    """A published version with its prices."""

    published_at = MomentField()
    effective_from = MomentField(allow_null=True, help_text="New subscriptions take it from then on; null: since ever.")
    effective_to = MomentField(allow_null=True, help_text="The first moment at which it is not sold any more.")
    prices = serializers.SerializerMethodField()
    spend = serializers.SerializerMethodField()

    class Meta:
        model = PlanVersion
        fields = (
            "number",
            "cadence",
            "proration",
            "tiers_on_change",
            "published_at",
            "effective_from",
            "effective_to",
            "digest",
            "prices",
            "spend",
        )

    @extend_schema_field(SpendDocument(many=True))
    def get_spend(self, version: PlanVersion) -> list[dict[str, Any]]:
        """Return minimum and maximum spend as they would stand in a catalog file."""
        return spend_documents(rows=version.spend.all())

    @extend_schema_field(PriceDocument(many=True))
    def get_prices(self, version: PlanVersion) -> list[dict[str, Any]]:
        """Return the prices as they would stand in a catalog file."""
        return [price_document(price=price) for price in version.prices.all()]


class PlanSerializer(serializers.ModelSerializer[Plan]):
    """A plan with its published versions, newest first."""

    product = serializers.CharField(source="product.key")
    add_on_to: Any = serializers.SlugRelatedField(
        many=True, read_only=True, slug_field="key", help_text="Sold only together with one of these plans."
    )
    versions = PlanVersionSerializer(many=True)

    class Meta:
        model = Plan
        fields = ("key", "name", "product", "add_on_to", "versions")


@extend_schema_view(
    get=extend_schema(operation_id="list_plans", summary="List plans with their published versions, newest first")
)
class PlansView(generics.ListAPIView[Plan]):
    """All plans."""

    scopes = {"GET": "plans:read", "POST": "plans:write"}
    customer_bound = ("GET",)
    serializer_class = PlanSerializer

    def get_queryset(self) -> QuerySet[Plan]:
        """Return the plans with everything that is shown of them, in a constant number of queries."""
        filters_of(self.request, known=())
        return _plans()

    @extend_schema(
        operation_id="load_plan",
        summary="Create a plan, or give it a new version",
        description="Prices that differ from the newest version make a new one, published at once and sold from"
        " `effective_from` on; running subscriptions keep theirs. The same document again changes nothing. Refused (`needs_approval`) where prices take two people.",
        request=PlanDocument,
        responses={201: PlanSerializer},
        examples=[OpenApiExample("Pro", value=REQUEST_EXAMPLE, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Bring one plan to what the document says."""
        document = request.data
        if not isinstance(document, Mapping):
            raise Malformed("the body must be a JSON object")
        try:
            load_prices(
                document=_catalog_of(document),
                at=clock.now(),
                actor=actor_of(request),
                reason="loaded over the API",
            )
        except InvalidFields as problem:
            raise InvalidFields(tuple(_without_place(error) for error in problem.errors)) from None
        return Response(PlanSerializer(_plan(str(document["key"]))).data, status=201)


class PlanView(generics.GenericAPIView[Plan]):
    """One plan."""

    scopes = {"GET": "plans:read"}
    customer_bound = ("GET",)
    serializer_class = PlanSerializer

    @extend_schema(operation_id="get_plan", summary="Read a plan with its published versions")
    def get(self, request: Request, key: str) -> Response:
        """Return the plan."""
        return Response(PlanSerializer(_plan(key)).data)


def _plans() -> QuerySet[Plan]:
    prices = with_rates(Price.objects.all()).order_by("position", "id")
    versions = PlanVersion.objects.filter(published_at__isnull=False).order_by("-number")
    return Plan.objects.select_related("product").prefetch_related(
        "add_on_to", Prefetch("versions", versions.prefetch_related(Prefetch("prices", prices), "spend"))
    )


def _plan(key: str) -> Plan:
    plan = _plans().filter(key=key).first()
    if plan is None:
        raise NotFound(f"there is no plan {key!r}", field="key")
    return plan


def _catalog_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog document that holds this one plan, and its product where that is spelt out."""
    product = document.get("product")
    if not isinstance(product, Mapping):
        return {"plans": [document]}
    return {"products": [product], "plans": [{**document, "product": product.get("key")}]}


def _without_place(error: FieldError) -> FieldError:
    field = error.field.removeprefix(ENTRY_PATH).replace("products[0]", "product")
    return FieldError(field, error.code, error.message)
