"""Plain words for rated lines and their steps; what the customer reads is stored with the line."""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from moneyed import Money

from billing_site.kernel.money import EXACT, exponent, minor_unit, plain, round_money
from invoicing.core.contract import Price, PriceModel, Step, StepKind
from invoicing.core.detail import values_text
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.priced import PricedQuantity

# A share with a greater denominator is shown to people as a percentage; the arithmetic keeps it exact.
READABLE_DENOMINATOR_MAX = 366
APPROXIMATE_PLACES = 6
# A unit price is quoted for the first lot that makes it whole minor units, and enough of them to be read at a glance.
LOTS = ((1, "at {price} each", 1), (1_000, "at {price} per 1,000", 10), (1_000_000, "at {price} per million", 1))

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
    language: Language = ENGLISH


def each_event_sentence(*, price: Price, currency: str, language: Language = ENGLISH) -> str:
    """Say what is charged for each event: its percentage, and what is added or bounds it; "" for other prices."""
    if not price.is_per_event or price.rate is None:
        return ""

    def money(amount: Decimal) -> str:
        figure = amount_text(amount=amount, currency=currency, language=language)
        return language.money(figure, currency=currency).strip()

    percent = percent_text(rate=price.rate, language=language)
    words = language.say("Each event is charged {percent} of its amount", percent=percent)
    if price.fixed_amount_per_event:
        words += language.say(" plus {amount}", amount=money(price.fixed_amount_per_event))
    if price.minimum_amount_per_event is not None:
        words += language.say(", at least {amount}", amount=money(price.minimum_amount_per_event))
    if price.maximum_amount_per_event is not None:
        words += language.say(", at most {amount}", amount=money(price.maximum_amount_per_event))
    return f"{words}."


def step_text(*, step: Step, is_first: bool, words: Words) -> str:
    """Say what a step is: "First 1,000,000 actions at USD 25.00 per million"."""
    say = words.language.say
    units = quantity_text(quantity=step.quantity, unit=words.unit, language=words.language)
    match step.kind:
        case StepKind.FLAT_FEE:
            fee = _money(step.flat_amount, words)
            if not step.count:
                return _shared(
                    words,
                    "Flat fee of {fee} for the billing period",
                    "Flat fee of {fee} for {share} of the billing period",
                    fee=fee,
                )
            return _shared(
                words,
                "{count} times a flat fee of {fee} for the billing period",
                "{count} times a flat fee of {fee} for {share} of the billing period",
                fee=fee,
                count=_figure(step.count, words),
            )
        case StepKind.UNITS:
            return f"{units} {_rate(step, words)}"
        case StepKind.TIER:
            is_next = words.carried or not is_first
            phrase = "Next {units} {rate}" if is_next else "First {units} {rate}"
            return say(phrase, units=units, rate=_rate(step, words))
        case StepKind.TIER_REACHED:
            return say("All {units} {rate}", units=units, rate=_rate(step, words))
        case StepKind.PACKAGES:
            assert words.package_size is not None, "packages have a size"
            is_one = step.count == 1
            return say(
                "{count} package of {size} at {price} each" if is_one else "{count} packages of {size} at {price} each",
                count=_figure(step.count, words),
                size=quantity_text(quantity=words.package_size, unit=words.unit, language=words.language),
                price=_money(step.unit_amount, words),
            )
        case StepKind.PERCENTAGE:
            return say(
                "{percent} of {amount}", percent=percent_text(rate=step.rate, language=words.language), amount=units
            )
        case StepKind.CELL:
            values = values_text(dimensions=words.dimensions, values=step.values, language=words.language)
            return say("{units} with {values} {rate}", units=units, values=values, rate=_rate(step, words))
        case StepKind.OTHER_VALUES:
            names = say(" and ").join(words.dimensions)
            return say("{units} with any other {names} {rate}", units=units, names=names, rate=_rate(step, words))
        case StepKind.EVENTS:
            return f"{_events(step, words)} {say('at {price} each', price=_money(step.unit_amount, words))}"
        case StepKind.EVENTS_AT_MINIMUM:
            return say(
                "{events} of together {units} at the minimum of {price} each",
                events=_events(step, words),
                units=units,
                price=_money(step.unit_amount, words),
            )
        case StepKind.EVENTS_AT_MAXIMUM:
            return say(
                "{events} of together {units} at the maximum of {price} each",
                events=_events(step, words),
                units=units,
                price=_money(step.unit_amount, words),
            )
        case StepKind.TRUE_UP:
            return _shared(
                words,
                "True-up to the minimum of {amount}",
                "True-up to {share} of the minimum of {amount}",
                amount=_money(step.flat_amount, words),
            )
        case StepKind.CAP:
            return _shared(
                words,
                "Capped at the maximum of {amount}",
                "Capped at {share} of the maximum of {amount}",
                share=words.share or Fraction(1),
                amount=_money(step.flat_amount, words),
            )
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
    language = words.language
    sentences = []
    if model is PriceModel.FLAT:
        sentences.append(f"{priced.steps[0].text}.")
    else:
        used = quantity_text(quantity=priced.quantity, unit=words.unit, language=language)
        if priced.free_quantity:
            free = _figure(priced.free_quantity, words)
            sentences.append(language.say("{used} used, {free} of them free.", used=used, free=free))
        else:
            sentences.append(language.say("{used} used.", used=used))
        sentences.append(words.each_event or language.say(MODEL_SENTENCES[model]))
        if words.carried:
            before = quantity_text(quantity=words.carried, unit=words.unit, language=language)
            sentences.append(
                language.say(
                    "It goes on from {before} that were used before in the same billing period.", before=before
                )
            )
    sentences += [f"{step.text}." for step in priced.steps if step.kind.is_bound]
    if priced.unrounded_amount != Fraction(amount.amount):
        exact = capitalised(_money(priced.unrounded_amount, words))
        rounded = _money(amount.amount, words)
        sentences.append(language.say("{exact} is rounded to {rounded}.", exact=exact, rounded=rounded))
    return " ".join(sentences)


def amount_text(*, amount: Decimal | Fraction, currency: str, language: Language = ENGLISH) -> str:
    """Write an amount in full, with at least the currency's decimals: 1,234.50, 0.0000375, ≈ 15.903226."""
    text = plain(amount)
    if isinstance(amount, Fraction) and "/" in text:
        return f"≈ {language.figure(plain(displayed_amount(amount=amount)))}"
    whole, _, decimals = text.partition(".")
    decimals = decimals.ljust(exponent(currency) if currency else 0, "0")
    return language.figure(f"{whole}.{decimals}" if decimals else whole)


def money_words(*, money: Money, language: Language = ENGLISH) -> str:
    """Write money as lines say it: USD 25.00."""
    currency = money.currency.code
    figure = amount_text(amount=money.amount, currency=currency, language=language)
    return language.money(figure, currency=currency)


def displayed_amount(*, amount: Fraction) -> Fraction:
    """Return the amount itself where a decimal can say it exactly, otherwise six decimals of it, for display only."""
    return _approximate(amount, places=APPROXIMATE_PLACES) if "/" in plain(amount) else amount


def quantity_text(*, quantity: Decimal, unit: str, language: Language = ENGLISH) -> str:
    """Write a quantity with its unit: 1 query, 15,000,000 actions, 10.5 GB."""
    text = language.figure(plain(quantity))
    return f"{text} {language.counted(unit, quantity)}" if unit else text


def grouped(text: str) -> str:
    """Put commas between the thousands of a plain number: 1234567.5 → 1,234,567.5; a minus becomes a true one."""
    return ENGLISH.figure(text)


def capitalised(words: str) -> str:
    """Begin words with a capital, and leave the rest as it is."""
    return words[0].upper() + words[1:]


def percent_text(*, rate: Decimal, language: Language = ENGLISH) -> str:
    """Write a fraction of one as people read it: 2.9 %."""
    return f"{language.decimal(plain(EXACT.multiply(rate, Decimal(100))))} %"


def share_text(*, share: Fraction, language: Language = ENGLISH) -> str:
    """Say which part of what is owed per billing period: "17/31"."""
    if share == 0:
        return language.say("no part")
    if share.denominator <= READABLE_DENOMINATOR_MAX:
        return str(share)
    return f"{language.decimal(plain(_approximate(share * 100, places=2)))} %"


def _shared(words: Words, whole: str, part: str, *, share: Fraction | None = None, **parts: str) -> str:
    """Say what is owed per billing period: the whole of it, or a share."""
    share = words.share if share is None else share
    if share == 1:
        return words.language.say(whole, **parts)
    return words.language.say(part, share=share_text(share=share, language=words.language), **parts)


def _figure(number: Decimal, words: Words) -> str:
    return words.language.figure(plain(number))


def _money(amount: Decimal | Fraction, words: Words) -> str:
    """Write an amount with its currency: USD 25.00, about USD 15.903226."""
    text = amount_text(amount=amount, currency=words.currency, language=words.language)
    if not words.currency:
        return text
    told = words.language.money(text.removeprefix("≈ "), currency=words.currency)
    return words.language.say("about {amount}", amount=told) if text.startswith("≈") else told


def _events(step: Step, words: Words) -> str:
    return quantity_text(quantity=step.count, unit="event", language=words.language)


def _rate(step: Step, words: Words) -> str:
    """Say what a unit costs: "at USD 25.00 per million plus a flat fee of USD 10.00"."""
    parts = []
    if step.rate:
        percent = percent_text(rate=step.rate, language=words.language)
        parts.append(words.language.say("at {percent}", percent=percent))
    elif step.unit_amount:
        parts.append(_unit_price(step.unit_amount, words))
    if step.flat_amount:
        fee = _money(step.flat_amount, words)
        parts.append(
            _shared(words, "plus a flat fee of {fee}", "plus {share} of a flat fee of {fee}", fee=fee)
            if parts
            else _shared(words, "for a flat fee of {fee}", "for {share} of a flat fee of {fee}", fee=fee)
        )
    return " ".join(parts) or words.language.say("free of charge")


def _unit_price(unit_amount: Decimal, words: Words) -> str:
    """Quote a tiny unit price for as many units as make it a readable amount: USD 0.00002 → at USD 20.00 per million."""
    price, phrase = _quoted(unit_amount, words.currency)
    return words.language.say(phrase, price=_money(price, words))


# A price is quoted on each line that it makes; a catalog has some hundreds.
@lru_cache(maxsize=1024)
def _quoted(unit_amount: Decimal, currency: str) -> tuple[Decimal, str]:
    """Return what the first lot costs that makes a unit price a readable amount, and the phrase that says so."""
    if currency:
        for lot, phrase, minor_units_min in LOTS:
            price = EXACT.multiply(unit_amount, Decimal(lot))
            if round_money(price, currency).amount == price >= minor_units_min * minor_unit(currency):
                return price, phrase
    return unit_amount, "at {price} each"


def _result(amount: Fraction, words: Words) -> str:
    text = amount_text(amount=amount, currency=words.currency)
    return text if text.startswith("≈") else f"= {text}"


def _approximate(number: Fraction, *, places: int) -> Fraction:
    units = (abs(number) * 10**places + Fraction(1, 2)).__floor__()
    return Fraction(units if number >= 0 else -units, 10**places)
