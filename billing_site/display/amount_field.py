"""Amounts of money as people type them: in forms, before anybody knows the currency's decimals."""

import re
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from billing_site.kernel.model import AMOUNT_DIGITS, AMOUNT_PLACES

# One thousand to half of the world, one to the other half. What begins with 0 is no thousands.
THOUSANDS_OR_DECIMALS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")


class AmountField(forms.DecimalField):
    """A decimal with a point; what could be read as thousands is asked again instead of being taken for a thousandth of what was meant."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("max_digits", AMOUNT_DIGITS)
        options.setdefault("decimal_places", AMOUNT_PLACES)
        options.setdefault("widget", UnfoldAdminDecimalFieldWidget())
        super().__init__(**{"error_messages": {"invalid": "Enter an amount with a point: 50.00."}, **options})

    def to_python(self, value: Any) -> Any:
        """Read the text; raises ValidationError for what is no decimal, or is ambiguous."""
        typed = str(value).strip() if value is not None else ""
        if THOUSANDS_OR_DECIMALS.fullmatch(typed):
            whole, decimals = typed.replace(".", ""), typed.rstrip("0").rstrip(".")
            raise forms.ValidationError(f"{typed} could be read in two ways: enter {whole}, or {decimals}.")
        return super().to_python(value)
