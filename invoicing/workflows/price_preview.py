"""What a price makes of a quantity: pure, for API, admin and tests."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from billing_site.kernel.errors import InvalidInput
from billing_site.kernel.money import exponent, plain, round_money, wire
from invoicing.core.definition import price_from_definition, quantity_from
from invoicing.core.detail import ByDimensions, BySize, GroupUsage, Need, SizeUsage
from invoicing.core.event_sizes import events_from
from invoicing.core.matrix_definition import groups_from
from invoicing.core.pricing import price_quantity
from metering.core.aggregation import sum_exactly


class _Asked:
    """What somebody wants to know the price of, as the price needs it."""

    def __init__(self, need: Need | None, quantity: Any, groups: Any, events: Any) -> None:
        self._quantity = quantity
        for name, given, kind in (("groups", groups, ByDimensions), ("events", events, BySize)):
            if given is not None and not isinstance(need, kind):
                whose = "a matrix" if kind is ByDimensions else "a price of each event"
                raise InvalidInput(f"belong to {whose} only: leave them out", field=name, code="not_allowed")
        self._groups = groups_from(groups, need=need) if isinstance(need, ByDimensions) else None
        self._sizes = events_from(events, need=need) if isinstance(need, BySize) else None

    def groups(self) -> tuple[GroupUsage, ...] | None:
        """Return the groups that a matrix needs."""
        return self._groups

    def sizes(self) -> SizeUsage | None:
        """Return the sizes that a price of each event needs."""
        return self._sizes

    def quantity(self) -> Decimal:
        """Return the quantity, which is what its parts add up to where there are any."""
        if self._sizes is not None:
            exact = self._sizes.quantity
        elif self._groups is not None:
            exact = sum_exactly(group.quantity for group in self._groups)
        elif self._quantity is None:
            raise InvalidInput('is required: a decimal as text, "21"', field="quantity", code="required")
        else:
            return quantity_from(self._quantity, field="quantity")
        if self._quantity is not None and quantity_from(self._quantity, field="quantity") != exact:
            raise InvalidInput(f"must be {plain(exact)}, what its parts add up to", field="quantity", code="not_equal")
        return exact


def preview_price(
    *, definition: Mapping[str, Any], quantity: Any = None, currency: Any, groups: Any = None, events: Any = None
) -> dict[str, Any]:
    """Return amount, unrounded amount and written-out lines of a price for a quantity.

    `definition` is the price object that load_catalog takes. A matrix is asked with `groups` that divide the quantity,
    [{"values": ["eu-1"], "quantity": "21"}], where "values" null is any other; a price of each event with `events`,
    [{"quantity": "12.50", "count": 3}]; the quantity may then be left out. Raises InvalidFields naming what is wrong.
    """
    price = price_from_definition(definition, field="price")
    asked = _Asked(price.need, quantity, groups, events)
    divided, by_size, exact = asked.groups(), asked.sizes(), asked.quantity()
    try:
        if not isinstance(currency, str):
            raise KeyError(currency)
        exponent(currency)
    except KeyError:
        raise InvalidInput("must be an ISO 4217 code such as EUR", field="currency", code="unknown") from None
    priced = price_quantity(price=price, quantity=exact, groups=divided, by_size=by_size)
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
