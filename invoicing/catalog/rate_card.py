"""A rate card as contracts take it: the prices of a plan, whether they stand in rows, in a draft or only in a document."""

from dataclasses import dataclass

from billing_site.kernel.errors import InvalidFields, InvalidInput
from invoicing.catalog.document import PlanEntry
from invoicing.catalog.mapping import core_price
from invoicing.catalog.meter_fit import meter_mistakes
from invoicing.catalog.models import Price
from invoicing.catalog.spend import SpendEntry
from invoicing.core import contract
from invoicing.core.phases import Proration, TiersOnChange
from metering.models import Meter


@dataclass(frozen=True)
class OfferedPrice:
    """One price of a rate card; `meter` None is a fixed fee."""

    key: str
    name: str
    currency: str
    meter: str | None
    unit: str
    price: contract.Price
    tiers_on_change: TiersOnChange
    in_advance: bool = False


@dataclass(frozen=True)
class RateCard:
    """What a plan would cost: all its prices, in all currencies."""

    plan: str
    cadence: contract.Cadence
    proration: Proration
    prices: tuple[OfferedPrice, ...]
    spend: tuple[SpendEntry, ...] = ()

    def prices_for(self, *, currency: str, cadence: contract.Cadence) -> tuple[OfferedPrice, ...]:
        """Return the prices in a currency; raises InvalidInput where there are none or the card is billed by other periods."""
        if cadence is not self.cadence:
            message = f"{self.plan} was billed by {cadence.value}, the price list is by {self.cadence.value}"
            raise InvalidInput(message, field="cadence", code="other_periods")
        prices = tuple(price for price in self.prices if price.currency == currency)
        if not prices:
            raise InvalidInput(f"the price list of {self.plan} has no price in {currency}", field="currency")
        return prices

    def spend_in(self, *, currency: str) -> SpendEntry | None:
        """Return the minimum and maximum spend in a currency, or None."""
        return next((entry for entry in self.spend if entry.currency == currency), None)


def offered_price(*, row: Price) -> OfferedPrice:
    """Return a stored price, whose meter and tiers should be there already."""
    meter = row.meter
    return OfferedPrice(
        key=row.key,
        name=row.name,
        currency=row.currency,
        meter=meter.key if meter else None,
        unit=meter.unit if meter else "",
        price=core_price(price=row),
        tiers_on_change=TiersOnChange(row.plan_version.tiers_on_change),
        in_advance=row.in_advance,
    )


def rate_card_of(*, entry: PlanEntry) -> RateCard:
    """Return the rate card of a plan as it stands in a catalog document; raises InvalidFields for meters that do not fit."""
    meters = Meter.objects.in_bulk({price.meter for price in entry.prices}, field_name="key")
    mistakes = [
        mistake
        for place, price in enumerate(entry.prices)
        for mistake in meter_mistakes(price=price, meters=meters, path=f"prices[{place}]")
    ]
    if mistakes:
        raise InvalidFields(tuple(mistakes))
    return RateCard(
        plan=entry.key,
        cadence=entry.cadence,
        proration=entry.proration,
        prices=tuple(
            OfferedPrice(
                key=price.key,
                name=price.name,
                currency=price.currency,
                meter=price.meter or None,
                unit=meters[price.meter].unit if price.meter else "",
                price=price.price,
                tiers_on_change=entry.tiers_on_change,
                in_advance=price.in_advance,
            )
            for price in entry.prices
        ),
        spend=entry.spend,
    )
