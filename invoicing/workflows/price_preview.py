"""What a price makes of a quantity: pure, for API, admin and tests."""

from collections.abc import Mapping
from typing import Any

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import exponent, plain, round_money, wire
from invoicing.core.definition import price_from_definition, quantity_from
from invoicing.core.pricing import price_quantity


def preview_price(*, definition: Mapping[str, Any], quantity: Any, currency: Any) -> dict[str, Any]:
    """Return amount, unrounded amount and written-out lines of a price for a quantity.

    `definition` is the price object that load_catalog takes; raises InvalidFields naming what is wrong.
    """
    price = price_from_definition(definition, field="price")
    exact = quantity_from(quantity, field="quantity")
    try:
        if not isinstance(currency, str):
            raise KeyError(currency)
        exponent(currency)
    except KeyError:
        raise InvalidInput("must be an ISO 4217 code such as EUR", field="currency", code="unknown") from None
    priced = price_quantity(price=price, quantity=exact)
    return {
        "amount": wire(round_money(priced.unrounded_amount, currency))["amount"],
        "unrounded_amount": plain(priced.unrounded_amount),
        "currency": currency,
        "lines": [
            {
                "text": step.text,
                "quantity": plain(step.quantity),
                "unit_amount": plain(step.unit_amount),
                "flat_amount": plain(step.flat_amount),
                "rate": plain(step.rate),
                "amount": plain(step.amount),
            }
            for step in priced.steps
        ],
    }
