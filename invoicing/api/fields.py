"""Fields of requests and answers: strict about what comes in, exact about what goes out."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from moneyed import Money
from rest_framework import serializers

from billing_site.kernel.money import plain, round_money, wire
from invoicing.core.numbers import Mistake, read_number

MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})?")
YEAR_FIRST, YEAR_LAST = 2000, 2099
MONEY_SCHEMA = {
    "type": "object",
    "required": ["amount", "currency"],
    "properties": {
        "amount": {"type": "string", "description": "With the decimals of the currency."},
        "currency": {"type": "string", "description": "ISO 4217."},
    },
    "example": {"amount": "12.30", "currency": "EUR"},
}


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses what it does not know, instead of ignoring a misspelt field."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Read an object; raises ValidationError naming unknown fields too."""
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("must be an object", code="wrong_type")
        known = ", ".join(self.fields)
        errors: dict[str, Any] = {
            str(name): [serializers.ErrorDetail(f"is not known here; known are {known}", code="unknown")]
            for name in data
            if name not in self.fields
        }
        read: dict[str, Any] = {}
        try:
            read = super().to_internal_value(data)
        except serializers.ValidationError as problem:
            assert isinstance(problem.detail, dict), "a serializer tells its mistakes by field"
            errors = problem.detail | errors
        if errors:
            raise serializers.ValidationError(errors)
        return read


class TextField(serializers.CharField):
    """A JSON string, as it is: a number is not a text, and blanks at the ends are kept."""

    default_error_messages = {"wrong_type": "must be a string"}

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("wrong_type")
        return data


class WholeField(serializers.IntegerField):
    """A JSON integer: neither a text nor 1.0 nor true."""

    default_error_messages = {"wrong_type": "must be a whole number"}

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("wrong_type")
        return super().to_internal_value(data)


class MomentField(serializers.DateTimeField):
    """A time by RFC 3339 with its offset; kept and written in UTC (S0-103)."""

    default_error_messages = {
        "wrong_type": "must be a string such as 2026-08-01T00:00:00Z",
        "invalid": "must be a time by RFC 3339 such as 2026-08-01T00:00:00Z",
        "naive": "must carry an offset: write {text}Z or {text}+02:00",
        "out_of_range": f"must lie in the years {YEAR_FIRST} to {YEAR_LAST}",
    }

    def to_internal_value(self, value: Any) -> datetime:
        """Return an aware UTC datetime."""
        if not isinstance(value, str):
            self.fail("wrong_type")
        match = MOMENT.fullmatch(value) if value.isascii() else None
        if match is None:
            self.fail("invalid", format="RFC 3339")
        if match[2] is None:
            self.fail("naive", text=value)
        if not YEAR_FIRST <= int(value[:4]) <= YEAR_LAST:
            self.fail("out_of_range")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except ValueError:
            self.fail("invalid", format="RFC 3339")

    def to_representation(self, value: datetime) -> str:
        """Write the time with a Z."""
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


@extend_schema_field(OpenApiTypes.STR)
class RawField(serializers.Field[Any, Any, Any, Any]):
    """Whatever was sent; the operation that is called reads it and tells what is wrong."""

    def to_internal_value(self, data: Any) -> Any:
        """Return it."""
        return data


@extend_schema_field(MONEY_SCHEMA)
class MoneyField(serializers.Field[Any, Any, dict[str, str], Any]):
    """Money as on the wire; only for answers."""

    def to_representation(self, value: Money) -> dict[str, str]:
        """Write the amount as text with the decimals of its currency."""
        return wire(value)


@extend_schema_field(MONEY_SCHEMA)
class NewMoneyField(serializers.Field[Any, Any, dict[str, str], Any]):
    """Money as on the wire, read: an exact amount that is not negative, in any currency that we can hold."""

    default_error_messages = {
        # The braces are doubled because messages are formatted.
        "wrong_type": 'must be an object such as {{"amount": "12.30", "currency": "EUR"}}',
        "currency": "must be in an ISO 4217 currency such as EUR",
        "too_precise": "must be whole minor units of its currency",
        "number": "{message}",
    }

    def to_internal_value(self, data: Any) -> Money:
        """Return the money."""
        exact = self.read_exact(data)
        money = round_money(exact.amount, exact.currency.code)
        if money.amount != exact.amount:
            self.fail("too_precise")
        return money

    def read_exact(self, data: Any) -> Money:
        """Return an amount with all its decimals."""
        if not isinstance(data, Mapping) or set(data) != {"amount", "currency"}:
            self.fail("wrong_type")
        number = read_number(data["amount"])
        if isinstance(number, Mistake):
            self.fail("number", message=f"amount {number.message}")
        try:
            round_money(number, str(data["currency"]))
        except KeyError:
            self.fail("currency")
        return Money(number, str(data["currency"]))


class NewUnitAmountField(NewMoneyField):
    """What one unit costs, read: as exact as prices are, so finer than the minor unit where that is meant."""

    def to_internal_value(self, data: Any) -> Money:
        """Return the amount."""
        return self.read_exact(data)


@extend_schema_field(OpenApiTypes.STR)
class NewQuantityField(serializers.Field[Any, Any, str, Any]):
    """A decimal number as text, read exactly."""

    default_error_messages = {"number": "{message}"}

    def to_internal_value(self, data: Any) -> Decimal:
        """Return the number."""
        number = read_number(data)
        if isinstance(number, Mistake):
            self.fail("number", message=number.message)
        return number


@extend_schema_field(OpenApiTypes.STR)
class QuantityField(serializers.Field[Any, Any, str, Any]):
    """A decimal number as text, without exponent; only for answers."""

    def to_representation(self, value: Decimal) -> str:
        """Write the number."""
        return plain(value)


class PeriodSerializer(serializers.Serializer[Any]):
    """A half-open span of time."""

    start = MomentField()
    end = MomentField(help_text="The first moment after it.")
