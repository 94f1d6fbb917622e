"""Amounts of money as people type them, often before the form knows the currency and its decimals."""

import re
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES
from billing_site.kernel.money import exponent

# One thousand to half of the world, one to the other half. What begins with 0 is no thousands.
THOUSANDS_OR_DECIMALS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")


THOUSANDS = 3


class AmountField(forms.DecimalField):
    """A decimal with a point; what could be read as thousands is asked again instead of being taken for a thousandth of what was meant.

    A form that knows the `currency` says it: three decimals are nothing else in a currency that has so many (KWD).
    """

    def __init__(self, *, currency: str = "", **options: Any) -> None:
        self.currency = currency
        options.setdefault("max_digits", AMOUNT_DIGITS)
        options.setdefault("decimal_places", AMOUNT_PLACES)
        options.setdefault("widget", UnfoldAdminDecimalFieldWidget())
        super().__init__(**{"error_messages": {"invalid": "Enter an amount with a point: 50.00."}, **options})

    def to_python(self, value: Any) -> Any:
        """Read the text; raises ValidationError for what is no decimal, or is ambiguous."""
        typed = str(value).strip() if value is not None else ""
        has_three = self.currency != "" and exponent(self.currency) == THOUSANDS
        if THOUSANDS_OR_DECIMALS.fullmatch(typed) and not (has_three and typed.count(".") == 1):
            raise forms.ValidationError(_asked(typed))
        return super().to_python(value)


def _asked(typed: str) -> str:
    """Say what to type for each of the two amounts that may be meant; both are taken as they are then."""
    whole, fewer = typed.replace(".", ""), typed.rstrip("0").rstrip(".")
    if typed.count(".") > 1:
        return f"{typed} is no decimal: enter {whole}."
    return f"{typed} could be read in two ways: enter {whole}, or {fewer if fewer != typed else f'{typed}0'}."
