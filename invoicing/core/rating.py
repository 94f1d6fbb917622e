"""Rating: a charge and its usage become a line, exact first and rounded once."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from invoicing.core.contract import Charge, ContractSnapshot, Price, RatedLine, Usage
from invoicing.core.detail import GroupUsage, SizeUsage
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.priced import PricedQuantity
from invoicing.core.pricing import price_quantity
from invoicing.core.wording import Words, each_event_sentence, line_explanation

NOTHING = Decimal(0)


class UsageMissing(BillingError):
    """A metered charge was to be rated without its usage; zero usage must be said, not guessed."""

    code = "usage_missing"


def rate(*, snapshot: ContractSnapshot, usage: Mapping[str, Usage]) -> tuple[RatedLine, ...]:
    """Rate every charge of a contract with the usage of its meter, in the contract's order."""
    return tuple(
        rate_charge(
            charge=charge,
            usage=usage.get(charge.meter) if charge.meter is not None else None,
            currency=snapshot.currency,
        )
        for charge in snapshot.charges
    )


def rate_charge(*, charge: Charge, usage: Usage | None, currency: str, language: Language = ENGLISH) -> RatedLine:
    """Rate one charge; a metered one needs its usage, and raises UsageMissing without. `language` is that of its words alone.

    The exact amount is rounded here and nowhere else, halves away from zero, to the minor unit.
    """
    quantity = quantity_to_rate(charge=charge, usage=usage)
    carried = usage.carried if usage is not None else NOTHING
    assert not carried or charge.carries, "only what a charge carries on from moves its tiers"
    priced, amount, explanation = (_priced_fee if usage is None else _priced)(
        price=charge.price,
        quantity=quantity,
        share=charge.share,
        seats=charge.quantity,
        carried=carried,
        groups=usage.groups if usage is not None else None,
        by_size=usage.by_size if usage is not None else None,
        unit=charge.unit,
        currency=currency,
        language=language,
    )
    return RatedLine(
        reference=charge.reference,
        description=charge.name,
        explanation=explanation,
        subscription=charge.subscription,
        meter=charge.meter,
        quantity=quantity,
        free_quantity=priced.free_quantity,
        unit=charge.unit,
        price=charge.price,
        share=charge.share,
        unrounded_amount=priced.unrounded_amount,
        amount=amount,
        steps=priced.steps,
        service_period=charge.service_period,
        usage=usage,
        carries=charge.carries,
    )


def _priced(
    *,
    price: Price,
    quantity: Decimal,
    share: Fraction,
    seats: int,
    carried: Decimal,
    groups: Sequence[GroupUsage] | None,
    by_size: SizeUsage | None,
    unit: str,
    currency: str,
    language: Language,
) -> tuple[PricedQuantity, Money, str]:
    """Return what a price makes of a quantity, the amount rounded, and how both are explained."""
    priced = price_quantity(
        price=price,
        quantity=quantity,
        share=share,
        seats=seats,
        carried=carried,
        groups=groups,
        by_size=by_size,
        unit=unit,
        currency=currency,
        language=language,
    )
    amount = round_money(priced.unrounded_amount, currency)
    words = Words(
        unit=unit,
        currency=currency,
        share=share,
        package_size=price.package_size,
        carried=carried,
        each_event=each_event_sentence(price=price, currency=currency, language=language),
        language=language,
    )
    return priced, amount, line_explanation(model=price.model, priced=priced, words=words, amount=amount)


# A fee is the same for everybody who pays it: a catalog has some hundreds.
_priced_fee = lru_cache(maxsize=1024)(_priced)


def quantity_to_rate(*, charge: Charge, usage: Usage | None) -> Decimal:
    """Return what a charge is rated with: all that its meter counted, or how often a fee counts. Raises UsageMissing."""
    if charge.meter is None:
        assert usage is None, "a charge without a meter has no usage"
        return Decimal(charge.quantity)
    if usage is None:
        raise UsageMissing(f"{charge.reference}: the usage of meter {charge.meter} is missing")
    assert usage.meter == charge.meter, f"usage of {usage.meter} for a charge on {charge.meter}"
    return usage.quantity
