"""Between a price's rows and the core's price."""

from invoicing.catalog.models import Price, PriceTier
from invoicing.core import contract


def core_price(*, price: Price) -> contract.Price:
    """Return the core's view of a stored price; its tiers should be prefetched."""
    return contract.Price(
        model=contract.PriceModel(price.model),
        unit_amount=price.unit_amount,
        tiers=tuple(
            contract.Tier(up_to=tier.up_to, unit_amount=tier.unit_amount, flat_amount=tier.flat_amount, rate=tier.rate)
            for tier in sorted(price.tiers.all(), key=lambda tier: tier.position)
        ),
        package_size=price.package_size,
        package_amount=price.package_amount,
        free_units=price.free_units,
        rate=price.rate,
        minimum_amount=price.minimum_amount,
        maximum_amount=price.maximum_amount,
    )


def price_columns(*, price: contract.Price) -> dict[str, object]:
    """Return the columns of a stored price, without its tiers, for the core's price."""
    return {
        "model": price.model.value,
        "unit_amount": price.unit_amount,
        "package_size": price.package_size,
        "package_amount": price.package_amount,
        "free_units": price.free_units,
        "rate": price.rate,
        "minimum_amount": price.minimum_amount,
        "maximum_amount": price.maximum_amount,
    }


def tier_rows(*, row: Price, price: contract.Price) -> list[PriceTier]:
    """Return unsaved tier rows of a stored price for the core's price."""
    return [
        PriceTier(
            price=row,
            position=position,
            up_to=tier.up_to,  # type: ignore[misc]  # the stubs do not see null=True through exact_field
            unit_amount=tier.unit_amount,
            flat_amount=tier.flat_amount,
            rate=tier.rate,
        )
        for position, tier in enumerate(price.tiers)
    ]
