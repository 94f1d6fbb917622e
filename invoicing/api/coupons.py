"""Coupons over HTTP, in the shape of a catalog file, and the discounts that they become."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing_site.kernel.clock import now
from billing_site.kernel.errors import InvalidFields, NotFound
from invoicing.api.base import actor_of, bound_customer, filters_of, read
from invoicing.api.fields import MomentField, StrictSerializer, TextField
from invoicing.catalog.coupon import Coupon, CouponDuration
from invoicing.catalog.coupon_document import read_coupon
from invoicing.catalog.coupons import close_coupon, coupon_document, create_coupon
from invoicing.customers.queries import customer_by_key
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.redeem import end_discount, redeem_coupon

REQUEST_EXAMPLE = {
    "code": "LAUNCH20",
    "name": "Launch offer",
    "percent_off": "20",
    "duration": "repeating",
    "periods": 3,
    "plans": ["pro"],
    "max_redemptions": 100,
    "redeem_by": "2027-01-01T00:00:00Z",
}
DISCOUNT_EXAMPLE = {
    "id": 12,
    "code": "LAUNCH20",
    "customer_id": "cust_acme",
    "subscription": None,
    "redeemed_at": "2026-08-01T09:00:00Z",
    "ended_at": None,
}

NUMBER_DIGITS = 18


class CouponDocument(serializers.Serializer[Any]):
    """The terms of a coupon; amounts are decimal strings. They stay: for other terms close it and make another one."""

    code = serializers.CharField(max_length=60, help_text="What people redeem; upper-cased.")
    name = serializers.CharField(required=False, help_text="What stands on invoices. Default: the code.")
    percent_off = serializers.CharField(required=False, help_text='Or amount_off: "20" takes off a fifth.')
    amount_off = serializers.CharField(required=False, help_text="Off each billing period, in `currency`.")
    currency = serializers.CharField(required=False, help_text="ISO 4217; with an amount.")
    minimum_amount = serializers.CharField(
        required=False, help_text="Where what it applies to comes to less, nothing is taken off."
    )
    duration = serializers.ChoiceField(required=False, choices=CouponDuration.choices, help_text="Default: once.")
    periods = serializers.IntegerField(required=False, help_text="How many billing periods, where it is repeating.")
    plans = serializers.ListField(child=serializers.CharField(), required=False, help_text="Keys; none: all.")
    prices = serializers.ListField(child=serializers.CharField(), required=False, help_text="Keys; none: all.")
    redeem_by = MomentField(required=False, help_text="The first moment at which it is too late.")
    max_redemptions = serializers.IntegerField(required=False)
    position = serializers.IntegerField(
        required=False,
        help_text="Of several discounts the smaller comes first; of the same, percentages, then the older. Default: 100.",
    )


class CouponSerializer(CouponDocument):
    """A coupon as it is."""

    redeemed = serializers.IntegerField(help_text="How often.")
    closed_at = MomentField(allow_null=True)

    def to_representation(self, instance: Coupon) -> dict[str, Any]:
        """Return its terms as in a catalog file, and what became of it."""
        document = coupon_document(coupon=instance)
        moments = MomentField()
        if "redeem_by" in document:
            document["redeem_by"] = moments.to_representation(document["redeem_by"])
        closed = None if instance.closed_at is None else moments.to_representation(instance.closed_at)
        return document | {"redeemed": instance.discounts.count(), "closed_at": closed}


@extend_schema_view(get=extend_schema(operation_id="list_coupons", summary="List coupons, newest first"))
class CouponsView(generics.ListAPIView[Coupon]):
    """All coupons."""

    scopes = {"GET": "coupons:read", "POST": "coupons:write"}
    serializer_class = CouponSerializer

    def get_queryset(self) -> QuerySet[Coupon]:
        """Return all of them."""
        filters_of(self.request, known=())
        return Coupon.objects.all()

    @extend_schema(
        operation_id="create_coupon",
        summary="Create a coupon",
        description="The same code and terms a second time is the coupon that exists; other terms are a 409.",
        request=CouponDocument,
        responses={201: CouponSerializer},
        examples=[OpenApiExample("A fifth off for three months", value=REQUEST_EXAMPLE, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Create a coupon."""
        entry, mistakes = read_coupon(document=request.data)
        if mistakes:
            raise InvalidFields(tuple(mistakes))
        coupon, _ = create_coupon(entry=entry, actor=actor_of(request), reason="created over the API")
        return Response(CouponSerializer(coupon).data, status=201)


class CouponCloseView(generics.GenericAPIView[Coupon]):
    """The end of a coupon."""

    scopes = {"POST": "coupons:write"}
    serializer_class = CouponSerializer

    @extend_schema(
        operation_id="close_coupon",
        summary="Close a coupon",
        description="Nobody can redeem it any more; the discounts that it became go on. A second time changes nothing.",
        request=None,
        responses=CouponSerializer,
        examples=[
            OpenApiExample(
                "Closed",
                value=REQUEST_EXAMPLE | {"redeemed": 7, "closed_at": "2026-12-01T00:00:00Z"},
                response_only=True,
            )
        ],
    )
    def post(self, request: Request, code: str) -> Response:
        """Close it."""
        coupon = close_coupon(code=code, at=now(), actor=actor_of(request), reason="closed over the API")
        return Response(CouponSerializer(coupon).data)


class NewDiscount(StrictSerializer):
    """A coupon to be redeemed."""

    code = TextField(max_length=60)
    customer_id = TextField(help_text="The customer's key.")
    subscription = TextField(required=False, allow_null=True, help_text="Only this one; none: all of the customer's.")


class DiscountSerializer(serializers.ModelSerializer[Discount]):
    """A coupon that a customer has redeemed."""

    code = serializers.CharField(source="coupon.code")
    customer_id = serializers.CharField(source="customer.key")
    subscription = serializers.CharField(source="subscription.key", default=None, allow_null=True)
    redeemed_at = MomentField(help_text="The billing period that holds it is the first that is reduced.")
    ended_at = MomentField(allow_null=True, help_text="Periods that begin then or later are not reduced any more.")

    class Meta:
        model = Discount
        fields = ("id", "code", "customer_id", "subscription", "redeemed_at", "ended_at")


@extend_schema_view(
    get=extend_schema(
        operation_id="list_discounts",
        summary="List discounts, newest first",
        parameters=[OpenApiParameter("customer_id", str, description="Of this customer only.")],
    )
)
class DiscountsView(generics.ListAPIView[Discount]):
    """All discounts."""

    scopes = {"GET": "discounts:read", "POST": "discounts:write"}
    customer_bound = ("GET",)
    serializer_class = DiscountSerializer

    def get_queryset(self) -> QuerySet[Discount]:
        """Return the discounts that the caller may see."""
        filters = filters_of(self.request, known=("customer_id",))
        discounts = Discount.objects.select_related("coupon", "customer", "subscription")
        for key in filter(None, (bound_customer(self.request), filters.get("customer_id", ""))):
            discounts = discounts.filter(customer__key=key)
        return discounts

    @extend_schema(
        operation_id="redeem_coupon",
        summary="Redeem a coupon",
        description="It reduces bills from the billing period that runs now. The same again is the discount that exists.",
        request=NewDiscount,
        responses={201: DiscountSerializer},
        examples=[
            OpenApiExample(
                "For all of a customer's", value={"code": "LAUNCH20", "customer_id": "cust_acme"}, request_only=True
            ),
            OpenApiExample("Redeemed", value=DISCOUNT_EXAMPLE, response_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Redeem a coupon."""
        fields = read(NewDiscount(data=request.data))
        customer = customer_by_key(key=fields["customer_id"], field="customer_id")
        subscription = None
        if fields.get("subscription") is not None:
            subscription = Subscription.objects.filter(key=fields["subscription"], customer=customer).first()
            if subscription is None:
                message = f"there is no subscription {fields['subscription']!r} of {customer.key}"
                raise NotFound(message, field="subscription")
        discount = redeem_coupon(
            code=fields["code"],
            customer=customer,
            subscription=subscription,
            at=now(),
            actor=actor_of(request),
            reason="redeemed over the API",
        )
        return Response(DiscountSerializer(discount).data, status=201)


class DiscountEndView(generics.GenericAPIView[Discount]):
    """The end of a discount."""

    scopes = {"POST": "discounts:write"}
    serializer_class = DiscountSerializer

    @extend_schema(
        operation_id="end_discount",
        summary="End a discount",
        description="Billing periods that begin from now on are not reduced any more. A second time changes nothing.",
        request=None,
        responses=DiscountSerializer,
        examples=[
            OpenApiExample("Ended", value=DISCOUNT_EXAMPLE | {"ended_at": "2026-12-01T00:00:00Z"}, response_only=True)
        ],
    )
    def post(self, request: Request, number: str) -> Response:
        """End it."""
        if not number.isdecimal() or len(number) > NUMBER_DIGITS:
            raise NotFound(f"there is no discount {number!r}", field="id")
        discount = end_discount(discount_id=int(number), at=now(), actor=actor_of(request), reason="ended over the API")
        return Response(DiscountSerializer(discount).data)
