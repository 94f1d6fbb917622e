"""What a price makes of a quantity, over HTTP."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from invoicing.api.base import read
from invoicing.api.fields import RawField, StrictSerializer
from invoicing.workflows.price_preview import preview_price

PRICE_EXAMPLE = {
    "model": "graduated",
    "tiers": [
        {"up_to": "10", "unit_amount": "10", "flat_amount": "0"},
        {"up_to": "20", "unit_amount": "6", "flat_amount": "0"},
        {"up_to": None, "unit_amount": "3", "flat_amount": "0"},
    ],
}
PRICE_HELP = (
    "As in a catalog file: `model` (flat, per_unit, package, graduated, volume, percentage, graduated_percentage,"
    " matrix) and its members: `unit_amount`, `tiers` of `up_to`, `unit_amount`, `flat_amount`, `rate`; `package_size`,"
    " `package_amount`, `free_units`, `rate` (a fraction of one), `minimum_amount`, `maximum_amount`;"
    " of a matrix `dimensions` (one or two of the meter's), `cells` of `values` and `unit_amount`, `default_unit_amount`;"
    " of a percentage of each event `fixed_amount_per_event`, `minimum_amount_per_event`, `maximum_amount_per_event`."
)
MATRIX_EXAMPLE = {
    "model": "matrix",
    "dimensions": ["region", "model"],
    "cells": [
        {"values": ["eu-central", "large"], "unit_amount": "0.03"},
        {"values": ["us-east", "large"], "unit_amount": "0.025"},
    ],
    "default_unit_amount": "0.04",
}


class PriceQuestion(StrictSerializer):
    """A price, a quantity and a currency."""

    price = serializers.DictField(help_text=PRICE_HELP)
    quantity = RawField(required=False, help_text='A decimal as text: "21". Of a matrix what the groups add up to.')
    currency = RawField(help_text="ISO 4217.")
    groups = RawField(
        required=False,
        help_text='Of a matrix only, how the quantity divides: `[{"values": ["eu-1"], "quantity": "21"}]`.',
    )
    events = RawField(required=False, help_text='Of a price of each event only: `[{"quantity": "12.50", "count": 3}]`.')


class PriceAnswerLine(serializers.Serializer[Any]):
    """One rung of the written-out arithmetic."""

    text = serializers.CharField()
    quantity = serializers.CharField()
    unit_amount = serializers.CharField()
    flat_amount = serializers.CharField()
    rate = serializers.CharField()
    amount = serializers.CharField(help_text="Exact; a fraction such as 1/3 where it has no end.")


class PriceAnswer(serializers.Serializer[Any]):
    """The amount, rounded and exact, and how it comes about."""

    amount = serializers.CharField(help_text="Rounded once, halves away from zero, to the currency's minor unit.")
    unrounded_amount = serializers.CharField()
    currency = serializers.CharField()
    lines = PriceAnswerLine(many=True)


class PricePreviewView(generics.GenericAPIView[Any]):
    """A price tried out; nothing is stored."""

    scopes = {"POST": "prices:read"}
    customer_bound = ("POST",)
    serializer_class = PriceQuestion

    @extend_schema(
        operation_id="preview_price",
        summary="Try out a price",
        responses=PriceAnswer,
        examples=[
            OpenApiExample(
                "Three tiers, 21 units",
                value={"price": PRICE_EXAMPLE, "quantity": "21", "currency": "USD"},
                request_only=True,
            ),
            OpenApiExample(
                "A matrix",
                value={
                    "price": MATRIX_EXAMPLE,
                    "currency": "USD",
                    "groups": [
                        {"values": ["eu-central", "large"], "quantity": "20"},
                        {"values": ["eu-central", None], "quantity": "1"},
                    ],
                },
                request_only=True,
            ),
        ],
    )
    def post(self, request: Request) -> Response:
        """Return what the price makes of the quantity."""
        question = read(PriceQuestion(data=request.data))
        return Response(
            preview_price(
                definition=question["price"],
                quantity=question.get("quantity"),
                currency=question["currency"],
                groups=question.get("groups"),
                events=question.get("events"),
            )
        )
