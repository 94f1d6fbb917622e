"""Stated lines: what somebody invoices once, as a quantity at a unit amount, rated and written out like any other line."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from moneyed import Money

from billing_site.kernel.money import plain, round_money, wire
from billing_site.kernel.words import counted
from invoicing.core.contract import Step, StepKind
from invoicing.core.wording import Words, amount_text, step_arithmetic, step_text


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


def rate_stated(*, item: StatedItem, reference: str, currency: str) -> StatedLine:
    """Return the line of an item: quantity × unit amount, exact, rounded once by the currency's exponent (S0-107)."""
    unrounded = Fraction(item.quantity) * Fraction(item.unit_amount)
    amount = round_money(unrounded, currency)
    words = Words(unit=item.unit, currency=currency, share=Fraction(1), package_size=None)
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
        explanation=_explanation(item, step, unrounded, amount),
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


def stated_again(*, inputs: Mapping[str, Any]) -> StatedLine:
    """Rate a stored stated line once more from its inputs alone."""
    item = StatedItem(
        description=inputs["name"],
        quantity=Decimal(inputs["quantity"]),
        unit_amount=Decimal(inputs["unit_amount"]),
        unit=inputs["unit"],
        kind=StatedKind(inputs["kind"]),
        valid_days=inputs.get("valid_days"),
    )
    return rate_stated(item=item, reference=inputs["reference"], currency=inputs["currency"])


def _explanation(item: StatedItem, step: Step, unrounded: Fraction, amount: Money) -> str:
    if item.kind is StatedKind.TOP_UP:
        lasts = f", and for {item.valid_days} {counted('day', item.valid_days)} from then on" if item.valid_days else ""
        return f"{_money(amount)} of credit that later invoices are paid with. It is there as soon as this one is paid in full{lasts}."
    sentences = [f"{step.text}."]
    if unrounded != Fraction(amount.amount):
        currency = amount.currency.code
        exact = amount_text(amount=unrounded, currency=currency)
        sentences.append(f"{currency} {exact} is rounded to {wire(amount)['amount']}.")
    return " ".join(sentences)


def _money(amount: Money) -> str:
    return f"{amount.currency.code} {amount_text(amount=amount.amount, currency=amount.currency.code)}"
