"""Plain words for rated lines and their steps; what the customer reads is stored with the line."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from moneyed import Money

from billing_site.kernel.money import EXACT, exponent, minor_unit, plain, round_money
from billing_site.kernel.words import counted
from invoicing.core.contract import Price, PriceModel, Step, StepKind
from invoicing.core.detail import values_text
from invoicing.core.priced import PricedQuantity

# A share with a greater denominator is shown to people as a percentage; the arithmetic keeps it exact.
READABLE_DENOMINATOR_MAX = 366
APPROXIMATE_PLACES = 6
# A unit price is quoted for the first lot that makes it whole minor units, and enough of them to be read at a glance.
LOTS = ((1, "each", 1), (1_000, "per 1,000", 10), (1_000_000, "per million", 1))

MODEL_SENTENCES = {
    PriceModel.FLAT: "",
    PriceModel.PER_UNIT: "Every unit costs the same.",
    PriceModel.GRADUATED: "Each unit is charged at the rate of the tier it falls in.",
    PriceModel.VOLUME: "All units are charged at the rate of the tier reached.",
    PriceModel.PACKAGE: "Units are sold in packages; a started package counts as a whole one.",
    PriceModel.PERCENTAGE: "A percentage of the amount is charged.",
    PriceModel.GRADUATED_PERCENTAGE: "Each part of the amount is charged at the percentage of its tier.",
    PriceModel.MATRIX: "Each unit is charged at the rate of the values that it was used with.",
}


@dataclass(frozen=True)
class Words:
    """What texts need to know beside the figures; unit and currency may be empty."""

    unit: str
    currency: str
    share: Fraction
    package_size: Decimal | None
    carried: Decimal = Decimal(0)
    dimensions: tuple[str, ...] = ()
    each_event: str = ""


def each_event_sentence(*, price: Price, currency: str) -> str:
    """Say what is charged for each event: its percentage, and what is added or bounds it; "" for other prices."""
    if not price.is_per_event or price.rate is None:
        return ""

    def money(amount: Decimal) -> str:
        return f"{currency} {amount_text(amount=amount, currency=currency)}".strip()

    words = f"Each event is charged {_percent(price.rate)} of its amount"
    if price.fixed_amount_per_event:
        words += f" plus {money(price.fixed_amount_per_event)}"
    if price.minimum_amount_per_event is not None:
        words += f", at least {money(price.minimum_amount_per_event)}"
    if price.maximum_amount_per_event is not None:
        words += f", at most {money(price.maximum_amount_per_event)}"
    return f"{words}."


def step_text(*, step: Step, is_first: bool, words: Words) -> str:
    """Say what a step is: "First 1,000,000 actions at USD 25.00 per million"."""
    measured = quantity_text(quantity=step.quantity, unit=words.unit)
    match step.kind:
        case StepKind.FLAT_FEE:
            times = f"{grouped(plain(step.count))} times a" if step.count else "Flat"
            fee = "flat fee" if step.count else "fee"
            return f"{times} {fee} of {_money(step.flat_amount, words)} for {share_text(share=words.share)}the billing period"
        case StepKind.UNITS:
            return f"{measured} {_rate(step, words)}"
        case StepKind.TIER:
            return f"{'First' if is_first and not words.carried else 'Next'} {measured} {_rate(step, words)}"
        case StepKind.TIER_REACHED:
            return f"All {measured} {_rate(step, words)}"
        case StepKind.PACKAGES:
            assert words.package_size is not None, "packages have a size"
            noun = "package" if step.count == 1 else "packages"
            size = quantity_text(quantity=words.package_size, unit=words.unit)
            return f"{grouped(plain(step.count))} {noun} of {size} at {_money(step.unit_amount, words)} each"
        case StepKind.PERCENTAGE:
            return f"{_percent(step.rate)} of {measured}"
        case StepKind.CELL:
            values = values_text(dimensions=words.dimensions, values=step.values)
            return f"{measured} with {values} {_rate(step, words)}"
        case StepKind.OTHER_VALUES:
            return f"{measured} with any other {' and '.join(words.dimensions)} {_rate(step, words)}"
        case StepKind.EVENTS:
            return f"{_events(step)} at {_money(step.unit_amount, words)} each"
        case StepKind.EVENTS_AT_MINIMUM:
            return f"{_events(step)} of together {measured} at the minimum of {_money(step.unit_amount, words)} each"
        case StepKind.EVENTS_AT_MAXIMUM:
            return f"{_events(step)} of together {measured} at the maximum of {_money(step.unit_amount, words)} each"
        case StepKind.TRUE_UP:
            return f"True-up to {share_text(share=words.share)}the minimum of {_money(step.flat_amount, words)}"
        case StepKind.CAP:
            return f"Capped at {share_text(share=words.share or Fraction(1))}the maximum of {_money(step.flat_amount, words)}"
        case _:
            raise AssertionError(f"a price has no step {step.kind}: corrections say their own words")


def step_arithmetic(*, step: Step, words: Words) -> str:
    """Write a step out: "9,000,000 × 0.00002 = 180.00"."""
    flat = amount_text(amount=step.flat_amount, currency=words.currency)
    share = (words.share or Fraction(1)) if step.kind is StepKind.CAP else words.share
    flat += f" × {share}" if share != 1 else ""
    result = _result(step.amount, words)
    if step.kind.is_bound:
        before = Fraction(step.flat_amount) * share - step.amount
        return f"{flat} − {amount_text(amount=before, currency=words.currency)} {result}"
    if step.kind is StepKind.FLAT_FEE:
        flat = f"{grouped(plain(step.count))} × {flat}" if step.count else flat
        return flat if words.share == 1 and not step.count else f"{flat} {result}"
    if step.rate:
        product = f"{grouped(plain(step.quantity))} × {plain(step.rate)}"
    else:
        count = step.quantity if step.kind is StepKind.TIER else step.count
        product = f"{grouped(plain(count))} × {amount_text(amount=step.unit_amount, currency=words.currency)}"
    return f"{product} + {flat} {result}" if step.flat_amount else f"{product} {result}"


def line_explanation(*, model: PriceModel, priced: PricedQuantity, words: Words, amount: Money) -> str:
    """Explain a whole line in a few plain sentences: what was used, what was free, how it is charged, what was rounded."""
    sentences = []
    if model is PriceModel.FLAT:
        sentences.append(f"{priced.steps[0].text}.")
    else:
        used = quantity_text(quantity=priced.quantity, unit=words.unit)
        free = grouped(plain(priced.free_quantity))
        sentences.append(f"{used} used, {free} of them free." if priced.free_quantity else f"{used} used.")
        sentences.append(words.each_event or MODEL_SENTENCES[model])
        if words.carried:
            before = quantity_text(quantity=words.carried, unit=words.unit)
            sentences.append(f"It goes on from {before} that were used before in the same billing period.")
    sentences += [f"{step.text}." for step in priced.steps if step.kind.is_bound]
    if priced.unrounded_amount != Fraction(amount.amount):
        exact, rounded = _money(priced.unrounded_amount, words), _money(amount.amount, words)
        sentences.append(f"{exact[0].upper()}{exact[1:]} is rounded to {rounded}.")
    return " ".join(sentences)


def amount_text(*, amount: Decimal | Fraction, currency: str) -> str:
    """Write an amount in full, with at least the currency's decimals: 1,234.50, 0.0000375, ≈ 15.903226."""
    shown = displayed_amount(amount=Fraction(amount))
    text = plain(shown)
    if shown != amount:
        return f"≈ {grouped(text)}"
    whole, _, decimals = text.partition(".")
    decimals = decimals.ljust(exponent(currency) if currency else 0, "0")
    return grouped(f"{whole}.{decimals}" if decimals else whole)


def displayed_amount(*, amount: Fraction) -> Fraction:
    """Return the amount itself where a decimal can say it exactly, otherwise six decimals of it, for display only."""
    return _approximate(amount, places=APPROXIMATE_PLACES) if "/" in plain(amount) else amount


def quantity_text(*, quantity: Decimal, unit: str) -> str:
    """Write a quantity with its unit: 1 query, 15,000,000 actions, 10.5 GB."""
    text = grouped(plain(quantity))
    return f"{text} {counted(unit, quantity)}" if unit else text


def grouped(text: str) -> str:
    """Put commas between the thousands of a plain number: 1234567.5 → 1,234,567.5; a minus becomes a true one."""
    sign, digits = ("−", text[1:]) if text.startswith("-") else ("", text)
    whole, point, decimals = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{decimals}"


def _money(amount: Decimal | Fraction, words: Words) -> str:
    """Write an amount with its currency: USD 25.00, about USD 15.903226."""
    text = amount_text(amount=amount, currency=words.currency)
    about = "about " if text.startswith("≈") else ""
    return f"{about}{words.currency} {text.removeprefix('≈ ')}" if words.currency else text


def _events(step: Step) -> str:
    return quantity_text(quantity=step.count, unit="event")


def _rate(step: Step, words: Words) -> str:
    """Say what a unit costs: "at USD 25.00 per million plus a flat fee of USD 10.00"."""
    parts = []
    if step.rate:
        parts.append(f"at {_percent(step.rate)}")
    elif step.unit_amount:
        parts.append(f"at {_unit_price(step.unit_amount, words)}")
    if step.flat_amount:
        share = share_text(share=words.share)
        parts.append(f"{'plus' if parts else 'for'} {share}a flat fee of {_money(step.flat_amount, words)}")
    return " ".join(parts) or "free of charge"


def _unit_price(unit_amount: Decimal, words: Words) -> str:
    """Quote a tiny unit price for as many units as make it a readable amount: USD 0.00002 → USD 20.00 per million."""
    if words.currency:
        for lot, name, minor_units_min in LOTS:
            price = EXACT.multiply(unit_amount, Decimal(lot))
            if round_money(price, words.currency).amount == price >= minor_units_min * minor_unit(words.currency):
                return f"{_money(price, words)} {name}"
    return f"{_money(unit_amount, words)} each"


def _percent(rate: Decimal) -> str:
    return f"{plain(EXACT.multiply(rate, Decimal(100)))} %"


def share_text(*, share: Fraction) -> str:
    """Say "17/31 of " before what is owed per billing period; nothing for a whole one."""
    if share == 1:
        return ""
    if share == 0:
        return "no part of "
    if share.denominator <= READABLE_DENOMINATOR_MAX:
        return f"{share} of "
    return f"{plain(_approximate(share * 100, places=2))} % of "


def _result(amount: Fraction, words: Words) -> str:
    text = amount_text(amount=amount, currency=words.currency)
    return text if text.startswith("≈") else f"= {text}"


def _approximate(number: Fraction, *, places: int) -> Fraction:
    units = (abs(number) * 10**places + Fraction(1, 2)).__floor__()
    return Fraction(units if number >= 0 else -units, 10**places)
