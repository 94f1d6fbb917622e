"""What customers fill in."""

from typing import Any

from django import forms

from billing_site.kernel.errors import BillingError
from billing_site.portal.phrases import phrase
from invoicing.customers.models import Customer
from invoicing.spend.models import AtLimit
from invoicing.spend.operations import NAME_MAX, amount_of

# What the operations refuse of a budget, by field and code, in words that the portal has in each language.
MORE_THAN_NOTHING, A_NUMBER = "It must be more than nothing.", "Write a number with a point: 49.90."
FEWER, TOO_HIGH = "Write at most 20 percents.", "Each percent must be from 1 to 1000."
REFUSED = {
    ("amount", "not_a_number"): A_NUMBER,
    ("amount", "not_finite"): A_NUMBER,
    ("amount", "negative"): MORE_THAN_NOTHING,
    ("amount", "out_of_range"): MORE_THAN_NOTHING,
    ("amount", "too_large"): "It is too large.",
    ("amount", "too_precise"): "It has more decimals than your currency.",
    ("thresholds", "too_many"): FEWER,
    ("thresholds", "out_of_range"): TOO_HIGH,
    ("projected_thresholds", "too_many"): FEWER,
    ("projected_thresholds", "out_of_range"): TOO_HIGH,
    ("name", "invalid"): "It has characters that we cannot keep.",
    ("customer_id", "too_many"): "You have 20 budgets already: remove one first.",
}
REFUSED_OTHERWISE = "It cannot be taken as it is."
PERCENTS = "Write whole percents, parted by commas: 50, 80, 100."
AT_LIMIT = ((AtLimit.NOTIFY.value, "Only tell me"), (AtLimit.STOP.value, "Stop my access until the period ends"))


def refused(*, field: str, code: str) -> str:
    """Return what a customer reads of a refusal, in the language of the page."""
    return phrase(REFUSED.get((field, code), REFUSED_OTHERWISE))


class BudgetForm(forms.Form):
    """A customer's own budget; the operation says what else it refuses."""

    name = forms.CharField(max_length=NAME_MAX, label="Name")
    amount = forms.CharField(max_length=40, label="Amount for each period")
    thresholds = forms.CharField(
        max_length=100, required=False, initial="50, 80, 100", label="Tell me at (percent of it)"
    )
    projected_thresholds = forms.CharField(
        max_length=100,
        required=False,
        label="Tell me when so much is expected (percent of it)",
        help_text="For example 100: before it is spent.",
    )

    def __init__(self, *args: Any, customer: Customer, **options: Any) -> None:
        super().__init__(*args, **options)
        self.customer = customer
        self.fields["amount"].widget.attrs["inputmode"] = "decimal"
        self.fields["name"].initial = phrase("My budget")
        choices = [(value, phrase(words)) for value, words in AT_LIMIT]
        self.fields["at_limit"] = forms.ChoiceField(choices=choices, label="When the whole amount is spent")

    def clean_amount(self) -> Any:
        """Read the amount in the customer's currency."""
        try:
            return amount_of(text=self.cleaned_data["amount"], currency=self.customer.currency)
        except BillingError as problem:
            raise forms.ValidationError(refused(field="amount", code=problem.field_errors[0].code)) from problem

    def clean_thresholds(self) -> list[int]:
        """Read the percents."""
        return self._percents("thresholds")

    def clean_projected_thresholds(self) -> list[int]:
        """Read the percents."""
        return self._percents("projected_thresholds")

    def tell(self, problem: BillingError) -> None:
        """Put what the operation refused beside its fields."""
        for error in problem.field_errors:
            self.add_error(
                error.field if error.field in self.fields else None, refused(field=error.field, code=error.code)
            )
        if not problem.field_errors:
            self.add_error(None, phrase(REFUSED_OTHERWISE))

    def _percents(self, name: str) -> list[int]:
        words = self.cleaned_data[name].replace("%", " ").replace(",", " ").split()
        if any(not word.isascii() or not word.isdecimal() or len(word) > 4 for word in words):
            raise forms.ValidationError(phrase(PERCENTS))
        return [int(word) for word in words]
