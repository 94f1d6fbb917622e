"""What Stripe Tax may answer, built by what matters: each place with its level, percentage and reason."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from invoicing.tax.stripe_answers import REFERENCE_AMOUNT

NEW_YORK = (
    ("US", "NY", "state", "New York", "4"),
    ("US", "NY", "city", "New York City", "4.5"),
    ("US", "NY", "district", "Metropolitan Commuter Transportation District", "0.375"),
)


def levied(
    country: str,
    state: str | None,
    level: str,
    place: str,
    percent: str | None,
    *,
    reason: str = "standard_rated",
    tax_type: str = "sales_tax",
    part: int = 100,
    amount: int | None = None,
) -> dict[str, Any]:
    """One place's tax of the amount that is asked about; without `percent` it charges none."""
    taxable = REFERENCE_AMOUNT * part // 100
    owed = int((Decimal(percent or 0) / 100 * taxable).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    details = {"display_name": "Sales Tax", "percentage_decimal": percent, "tax_type": tax_type}
    return {
        "amount": owed if amount is None else amount,
        "jurisdiction": {"country": country, "display_name": place, "level": level, "state": state},
        "sourcing": "destination",
        "tax_rate_details": details if percent is not None else None,
        "taxability_reason": reason,
        "taxable_amount": taxable if percent is not None else 0,
    }


def answered(*entries: dict[str, Any]) -> dict[str, Any]:
    """A calculation over one line."""
    return {
        "id": "taxcalc_1",
        "line_items": {"data": [{"amount": REFERENCE_AMOUNT, "tax_breakdown": list(entries)}]},
    }


def new_york() -> dict[str, Any]:
    """What Manhattan charges: three places at once."""
    return answered(*(levied(*place) for place in NEW_YORK))
