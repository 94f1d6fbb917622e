"""Stated lines: what somebody invoices once, as a quantity at a unit amount, rated and written out like any other line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from moneyed import Money

from billing_site.kernel.money import exponent, plain, round_money
from invoicing.core.contract import Step, StepKind
from invoicing.core.languages import ENGLISH, Language
from invoicing.core.wording import Words, amount_text, money_words, step_arithmetic, step_text


class StatedKind(StrEnum):
    """What is sold: something that is earned when it is invoiced, or credit that is owed until it is drawn."""

    ONE_OFF = "one_off"
    TOP_UP = "top_up"


@dataclass(frozen=True)
class StatedItem:
    """What is invoiced once. `unit_amount` is as exact as prices are; `valid_days` is of credit: for how long after its payment."""

    description: str
    quantity: Decimal
    unit_amount: Decimal
    unit: str = ""
    kind: StatedKind = StatedKind.ONE_OFF
    valid_days: int | None = None

    def __post_init__(self) -> None:
        assert self.quantity > 0, "nothing is not invoiced"
        assert self.unit_amount >= 0, "what is given back is a credit note"
        assert self.kind is StatedKind.TOP_UP or self.valid_days is None, "only credit is valid for some days"


@dataclass(frozen=True)
class StatedLine:
    """An item with its exact amount, its rounded amount and the step in between."""

    reference: str
    item: StatedItem
    explanation: str
    unrounded_amount: Fraction
    amount: Money
    steps: tuple[Step, ...]


def rate_stated(*, item: StatedItem, reference: str, currency: str, language: Language = ENGLISH) -> StatedLine:
    """Return the line of an item: quantity × unit amount, exact, rounded once by the currency's exponent (S0-107)."""
    unrounded = Fraction(item.quantity) * Fraction(item.unit_amount)
    amount = round_money(unrounded, currency)
    words = Words(unit=item.unit, currency=currency, share=Fraction(1), package_size=None, language=language)
    bare = Step(
        kind=StepKind.UNITS,
        quantity=item.quantity,
        count=item.quantity,
        unit_amount=item.unit_amount,
        amount=unrounded,
    )
    step = replace(
        bare,
        text=step_text(step=bare, is_first=True, words=words),
        arithmetic=step_arithmetic(step=bare, words=words),
    )
    return StatedLine(
        reference=reference,
        item=item,
        explanation=_explanation(item, step, unrounded, amount, language),
        unrounded_amount=unrounded,
        amount=amount,
        steps=(step,),
    )


def stated_inputs(*, line: StatedLine) -> dict[str, Any]:
    """Return all that the rating of a stated line depended on, as canonical JSON members."""
    item = line.item
    inputs: dict[str, Any] = {
        "kind": item.kind.value,
        "reference": line.reference,
        "name": item.description,
        "currency": line.amount.currency.code,
        "quantity": plain(item.quantity),
        "unit": item.unit,
        "unit_amount": plain(item.unit_amount),
    }
    if item.valid_days is not None:
        inputs["valid_days"] = item.valid_days
    return inputs


def stated_again(*, inputs: Mapping[str, Any], language: Language = ENGLISH) -> StatedLine:
    """Rate a stored stated line once more from its inputs alone."""
    item = StatedItem(
        # What is sold is named by us, what is stated once by somebody.
        description=language.told(inputs["name"]) if inputs["kind"] == StatedKind.TOP_UP else inputs["name"],
        quantity=Decimal(inputs["quantity"]),
        unit_amount=Decimal(inputs["unit_amount"]),
        unit=inputs["unit"],
        kind=StatedKind(inputs["kind"]),
        valid_days=inputs.get("valid_days"),
    )
    return rate_stated(item=item, reference=inputs["reference"], currency=inputs["currency"], language=language)


def _explanation(item: StatedItem, step: Step, unrounded: Fraction, amount: Money, language: Language) -> str:
    currency = amount.currency.code
    if item.kind is StatedKind.TOP_UP:
        sold = money_words(money=amount, language=language)
        told = language.say(
            "{amount} of credit that later invoices are paid with. It is there as soon as this one is paid in full",
            amount=sold,
        )
        if item.valid_days:
            days = f"{item.valid_days} {language.counted('day', item.valid_days)}"
            told += language.say(", and for {days} from then on", days=days)
        return f"{told}."
    sentences = [f"{step.text}."]
    if unrounded != Fraction(amount.amount):
        exact = language.money(amount_text(amount=unrounded, currency=currency, language=language), currency=currency)
        # In English it is stored, and stays, without currency and thousands.
        plainly = format(amount.amount, f".{exponent(currency)}f")
        rounded = plainly if language is ENGLISH else money_words(money=amount, language=language)
        sentences.append(language.say("{exact} is rounded to {rounded}.", exact=exact, rounded=rounded))
    return " ".join(sentences)
