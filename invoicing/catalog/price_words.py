"""What a price costs, in plain words."""

from decimal import Decimal

from billing_site.display.figures import exact_price, quantity
from billing_site.kernel.money import EXACT, plain
from billing_site.kernel.words import counted
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import PlanSpend, Price, PriceTier
from invoicing.core.contract import Cadence, PriceModel
from invoicing.core.detail import values_text
from invoicing.core.wording import each_event_sentence

PER = {Cadence.WEEK: "week", Cadence.MONTH: "month", Cadence.QUARTER: "quarter", Cadence.YEAR: "year"}

# The rest of a large matrix is counted; its cells stand in the price's form.
CELLS_SAID_MAX = 30


def price_in_words(*, price: Price, cadence: str, cells_max: int | None = CELLS_SAID_MAX) -> list[str]:
    """Return the sentences that say what a price costs; its meter, tiers and cells should be loaded.

    Of a matrix at most so many cells are said, all of them with None.
    """
    unit = price.meter.unit if price.meter else "unit"
    sentences = []
    if price.free_units:
        sentences.append(f"The first {quantity(price.free_units, unit)} of a period are free.")
    sentences += _model_words(price, unit=unit, per=PER[Cadence(cadence)], cells_max=cells_max)
    if price.minimum_amount is not None:
        sentences.append(f"At least {_amount(price, price.minimum_amount)} a period.")
    if price.maximum_amount is not None:
        sentences.append(f"At most {_amount(price, price.maximum_amount)} a period.")
    return sentences


def price_in_full(*, price: Price, cadence: str) -> list[str]:
    """Return what `price_in_words` says with every cell, and by which meter it counts: for whoever compares two prices."""
    words = price_in_words(price=price, cadence=cadence, cells_max=None)
    return [f"Counted by {price.meter.key}.", *words] if price.meter else words


def spend_in_words(*, row: PlanSpend, cadence: str) -> list[str]:
    """Return the sentences that say what a subscription owes at least and at most."""
    per = PER[Cadence(cadence)]
    bounds = (("At least", row.minimum_spend), ("At most", row.maximum_spend))
    return [
        f"{word} {exact_price(amount=bound, currency=row.currency)} per {per}."
        for word, bound in bounds
        if bound is not None
    ]


def _model_words(price: Price, *, unit: str, per: str, cells_max: int | None) -> list[str]:
    match PriceModel(price.model):
        case PriceModel.FLAT:
            when = ", invoiced before it begins" if price.in_advance else ""
            return [f"{_amount(price, price.unit_amount)} per {per}{when}."]
        case PriceModel.PER_UNIT:
            return [f"{_unit_price(price, price.unit_amount, unit)}."]
        case PriceModel.PACKAGE:
            size = quantity(price.package_size or Decimal(0), unit)
            return [
                f"{_amount(price, price.package_amount)} for each package of {size}; a started one counts as whole."
            ]
        case PriceModel.PERCENTAGE:
            if core_price(price=price).is_per_event and price.rate is not None:
                return [each_event_sentence(price=core_price(price=price), currency=price.currency)]
            return [f"{_percent(price.rate)} of the amount."]
        case PriceModel.GRADUATED:
            return ["Each unit at the rate of the tier it falls in:", *_tier_words(price, unit=unit)]
        case PriceModel.VOLUME:
            return ["All units at the rate of the tier reached:", *_tier_words(price, unit=unit)]
        case PriceModel.GRADUATED_PERCENTAGE:
            return ["Each part of the amount at the percentage of its tier:", *_tier_words(price, unit=unit)]
        case PriceModel.MATRIX:
            return ["Each unit at the rate of its values:", *_cell_words(price, unit=unit, cells_max=cells_max)]


def _tier_words(price: Price, *, unit: str) -> list[str]:
    tiers = sorted(price.tiers.all(), key=lambda tier: tier.position)
    return [f"{_bound(tier, index, unit)}: {_tier_rate(price, tier, unit)}" for index, tier in enumerate(tiers)] or [
        "no tiers yet"
    ]


def _cell_words(price: Price, *, unit: str, cells_max: int | None) -> list[str]:
    shown = core_price(price=price)
    if not shown.dimensions or not shown.cells:
        return ["no dimensions yet" if not shown.dimensions else "no cells yet"]
    words = [
        f"{values_text(dimensions=shown.dimensions, values=cell.values[: len(shown.dimensions)])}:"
        f" {_unit_price(price, cell.unit_amount, unit)}"
        for cell in shown.cells[:cells_max]
    ]
    if (more := len(shown.cells) - len(words)) > 0:
        words.append(f"and {more} {counted('cell', more)} more")
    other = "any other values" if len(shown.dimensions) > 1 else f"any other {shown.dimensions[0]}"
    if price.default_unit_amount is None:
        return [*words, f"{other}: no price; such usage is not billed until somebody acts."]
    return [*words, f"{other}: {_unit_price(price, price.default_unit_amount, unit)}"]


def _bound(tier: PriceTier, index: int, unit: str) -> str:
    if tier.up_to is None:
        return "beyond" if index else "any quantity"
    return f"up to {quantity(tier.up_to, unit)}"


def _tier_rate(price: Price, tier: PriceTier, unit: str) -> str:
    parts = []
    if tier.rate:
        parts.append(_percent(tier.rate))
    if tier.unit_amount:
        parts.append(_unit_price(price, tier.unit_amount, unit))
    if tier.flat_amount:
        parts.append(f"{_amount(price, tier.flat_amount)} flat")
    return " plus ".join(parts) or "free"


def _unit_price(price: Price, amount: Decimal | None, unit: str) -> str:
    """Say a tiny price for a million units, so that it can be read: EUR 2.40 per million tokens."""
    if amount is None:
        return "no amount yet"
    for lot, name in ((1, ""), (1_000, "1,000 "), (1_000_000, "million ")):
        scaled = EXACT.multiply(amount, Decimal(lot))
        if scaled >= Decimal("0.01") or lot == 1_000_000:
            return f"{exact_price(amount=scaled, currency=price.currency)} per {name}{counted(unit, lot)}"
    raise AssertionError("the last lot always answers")


def _amount(price: Price, amount: Decimal | None) -> str:
    return "no amount yet" if amount is None else exact_price(amount=amount, currency=price.currency)


def _percent(rate: Decimal | None) -> str:
    return "no rate yet" if rate is None else f"{plain(EXACT.multiply(rate, Decimal(100)))} %"
