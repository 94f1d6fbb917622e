"""What a customer promises to pay, as somebody fills it in: a row for each day, with its amount, and what they come to."""

from datetime import date
from typing import Any

from django import forms
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.amount_field import AmountField
from billing_site.display.figures import money_text
from billing_site.kernel.money import wire
from dunning.arrangements.operations import NewInstalment

# So many rows stand empty beneath what is filled in.
EMPTY_ROWS = 2


class InstalmentsWidget(forms.Widget):
    """A row for each instalment; beneath them what they come to, and what is late."""

    def __init__(self, *, late: Money) -> None:
        super().__init__()
        self.late = late

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """Draw the rows as they were entered; before that, the whole in the first."""
        rows = value if value is not None else [("", wire(self.late)["amount"])]
        context = {
            "name": name,
            "id": (attrs or {}).get("id", name),
            "rows": [*rows, *[("", "")] * EMPTY_ROWS],
            "late": money_text(self.late),
            "late_amount": wire(self.late)["amount"],
            "currency": self.late.currency.code,
        }
        return SafeString(render_to_string("backoffice/instalments.html", context))

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[tuple[str, str]]:
        """Return day and amount of each row in which something stands."""
        days, amounts = (
            [one.strip() for one in data.getlist(f"{name}-{part}")] if hasattr(data, "getlist") else []
            for part in ("day", "amount")
        )
        return [row for row in zip(days, amounts, strict=False) if any(row)]

    def id_for_label(self, id_: str | None, index: str = "0") -> str:
        """Return the field that the label leads to: the day of the first instalment."""
        return f"{id_}-day" if id_ else ""


class InstalmentsField(forms.Field):
    """Instalments; what cannot be read is told by its row."""

    def __init__(self, *, late: Money, **options: Any) -> None:
        self.currency = late.currency.code
        super().__init__(widget=InstalmentsWidget(late=late), **options)

    def to_python(self, value: Any) -> list[NewInstalment]:
        """Read the rows; raises ValidationError with a sentence for each mistake."""
        found, mistakes = [], []
        for place, (day, amount) in enumerate(value, start=1):
            try:
                number = AmountField(currency=self.currency).clean(amount.replace(",", ""))
                found.append(NewInstalment(date.fromisoformat(day), Money(number, self.currency)))
            except ValueError:
                mistakes.append(f"Row {place}: write a day such as 2026-12-01, not “{day}”.")
            except forms.ValidationError as problem:
                mistakes += [f"Row {place}: {message}" for message in problem.messages]
        if mistakes:
            raise forms.ValidationError(mistakes)
        return found
