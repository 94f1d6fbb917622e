"""Between a price's rows and the core's price."""

from invoicing.catalog.models import Price, PriceCell, PriceTier
from invoicing.core import contract
from invoicing.core.definition import PER_EVENT
from invoicing.core.detail import Cell, Values


def core_price(*, price: Price) -> contract.Price:
    """Return the core's view of a stored price; its tiers and cells should be prefetched."""
    dimensions = tuple(name for name in (price.first_dimension, price.second_dimension) if name)
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
        dimensions=dimensions,
        cells=tuple(
            Cell(_values(cell, len(dimensions)), cell.unit_amount)
            for cell in sorted(price.cells.all(), key=lambda cell: cell.position)
        ),
        default_unit_amount=price.default_unit_amount,
        **{name: getattr(price, name) for name in PER_EVENT},
    )


def price_columns(*, price: contract.Price) -> dict[str, object]:
    """Return the columns of a stored price, without its tiers and cells, for the core's price."""
    first, second = (*price.dimensions, "", "")[:2]
    return {
        "model": price.model.value,
        "unit_amount": price.unit_amount,
        "package_size": price.package_size,
        "package_amount": price.package_amount,
        "free_units": price.free_units,
        "rate": price.rate,
        "minimum_amount": price.minimum_amount,
        "maximum_amount": price.maximum_amount,
        "first_dimension": first,
        "second_dimension": second,
        "default_unit_amount": price.default_unit_amount,
        **{name: getattr(price, name) for name in PER_EVENT},
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


def cell_rows(*, row: Price, price: contract.Price) -> list[PriceCell]:
    """Return unsaved cell rows of a stored price for the core's price."""
    return [
        PriceCell(
            price=row,
            position=position,
            first_value=cell.values[0],
            second_value=cell.values[1] if len(cell.values) > 1 else None,
            unit_amount=cell.unit_amount,
        )
        for position, cell in enumerate(price.cells)
    ]


def _values(cell: PriceCell, length: int) -> Values:
    """Return the values of a cell; one too many in a draft is left in, so that it is told."""
    values = (cell.first_value, cell.second_value)
    return values if length != 1 or cell.second_value is not None else values[:1]
