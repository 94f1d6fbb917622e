"""What a price makes of a quantity: pure, for API, admin and tests."""

from collections.abc import Mapping
from typing import Any

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import exponent, plain, round_money, wire
from invoicing.core.definition import price_from_definition, quantity_from
from invoicing.core.matrix_definition import groups_from
from invoicing.core.pricing import price_quantity
from metering.core.aggregation import sum_exactly


def preview_price(
    *, definition: Mapping[str, Any], quantity: Any = None, currency: Any, groups: Any = None
) -> dict[str, Any]:
    """Return amount, unrounded amount and written-out lines of a price for a quantity.

    `definition` is the price object that load_catalog takes. A matrix is asked with `groups` that divide the quantity,
    [{"values": ["eu-1"], "quantity": "21"}], where "values" null is any other; the quantity may then be left out. Raises InvalidFields naming what is wrong.
    """
    price = price_from_definition(definition, field="price")
    divided = None
    if price.need is not None:
        divided = groups_from(groups, need=price.need)
    elif groups is not None:
        raise InvalidInput("belong to a matrix only: leave them out", field="groups", code="not_allowed")
    if divided is not None:
        exact = sum_exactly(group.quantity for group in divided)
        if quantity is not None and quantity_from(quantity, field="quantity") != exact:
            raise InvalidInput(f"must be {plain(exact)}, what the groups add up to", field="quantity", code="not_equal")
    elif quantity is None:
        raise InvalidInput('is required: a decimal as text, "21"', field="quantity", code="required")
    else:
        exact = quantity_from(quantity, field="quantity")
    try:
        if not isinstance(currency, str):
            raise KeyError(currency)
        exponent(currency)
    except KeyError:
        raise InvalidInput("must be an ISO 4217 code such as EUR", field="currency", code="unknown") from None
    priced = price_quantity(price=price, quantity=exact, groups=divided)
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
