"""The form of a price and its tiers: it refuses what the catalog file and the API refuse, at the same fields and in the same words."""

from decimal import Decimal
from typing import Any

from django import forms
from django.forms.models import BaseInlineFormSet
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from billing_site.display.admin import ReasonedForm
from billing_site.kernel.errors import FieldError
from billing_site.kernel.money import plain
from invoicing.catalog.document import price_mistakes
from invoicing.catalog.meter_fit import dimension_mistakes, event_mistakes
from invoicing.catalog.models import Price, PriceCell, PriceTier
from invoicing.core.definition import PER_EVENT, PRICE_MEMBERS, STRUCTURES, TIER_MEMBERS
from invoicing.core.numbers import Mistake, read_number


class ExactNumberField(forms.DecimalField):
    """A number as prices have it, read as the catalog file reads it; shown without the zeros that its column adds."""

    def __init__(self, **options: Any) -> None:
        """Leave digits and places to the reader, which says what is wrong with them."""
        super().__init__(**{**options, "max_digits": None, "decimal_places": None})

    def to_python(self, value: Any) -> Decimal | None:  # type: ignore[override]  # the stubs take it for an integer's
        """Return the number, or None where nothing was written."""
        if value in self.empty_values or not str(value).strip():
            return None
        number = read_number(str(value).strip())
        if isinstance(number, Mistake):
            raise forms.ValidationError(number.message, code=number.code)
        return number

    def prepare_value(self, value: Any) -> Any:
        """Write a stored number as people do: 0.01 for 0.010000000000."""
        return plain(value) if isinstance(value, Decimal) else value


# For the admins of prices and tiers: what their number columns are edited with.
EXACT_NUMBERS = {"form_class": ExactNumberField, "widget": UnfoldAdminDecimalFieldWidget}
DIMENSION_COLUMNS = ("first_dimension", "second_dimension")
# Where the parts of a price object stand in the form.
DIMENSION_FIELDS = {
    "dimensions": "first_dimension",
    "dimensions[0]": "first_dimension",
    "dimensions[1]": "second_dimension",
}
CELL_FIELDS = {"values": "first_value", "values[0]": "first_value", "values[1]": "second_value"}


class PriceForm(ReasonedForm):
    """One price of a draft, as it would stand in a catalog file, and why it is so."""

    # What it cost before it was saved, in words; "" of a new one.
    words_before = ""

    class Meta:
        model = Price
        fields = "__all__"
        labels = {"unit_amount": "Amount"}
        help_texts = {
            "currency": "A code such as EUR.",
            "position": "The smaller number stands first on the invoice.",
            "unit_amount": "Flat: the fee of a billing period. Otherwise: what one unit costs.",
            "package_size": "How many units a package has.",
            "package_amount": "What a package costs.",
            "free_units": "Units of a billing period that cost nothing.",
            "minimum_amount": "What it comes to at least in a billing period. Empty: no least.",
            "maximum_amount": "What it comes to at most in a billing period. Empty: no most.",
        }

    def clean(self) -> dict[str, Any]:
        """Put what a catalog file would be refused for beside its fields; the tiers speak for themselves below."""
        cleaned = super().clean() or {}
        meter = cleaned.get("meter")
        document = {name: cleaned[name] for name in ("key", "name", "currency") if cleaned.get(name)}
        document |= {"meter": meter.key if meter else None, "in_advance": bool(cleaned.get("in_advance"))}
        for error in _mistakes(document | _members(cleaned)):
            field = DIMENSION_FIELDS.get(error.field, error.field)
            # What could not be read at all is told already.
            if not error.field.startswith(("tiers", "cells")) and field not in self.errors:
                self.add_error(field if field in self.fields else None, error.message)
        if meter is not None and not self.errors:
            dimensions = _dimensions(cleaned)
            for error in dimension_mistakes(dimensions=dimensions, key=meter.key, meter=meter):
                self.add_error(DIMENSION_FIELDS[error.field], error.message)
            per_event = [name for name in PER_EVENT if cleaned.get(name) is not None]
            for error in event_mistakes(members=per_event, key=meter.key, meter=meter):
                self.add_error(error.field, error.message)
        return cleaned


class TierForm(forms.ModelForm):
    """One tier, judged together with those before it by the formset."""

    class Meta:
        model = PriceTier
        fields = TIER_MEMBERS

    def clean_up_to(self) -> Decimal | None:
        """Refuse a bound of nothing at its field, before the table's constraint does it without one."""
        bound: Decimal | None = self.cleaned_data["up_to"]
        if bound == 0:
            raise forms.ValidationError("must be greater than 0, where the tier begins")
        return bound


class TierFormSet(BaseInlineFormSet):
    """The tiers of a price: ascending, without a gap, the last one open."""

    def clean(self) -> None:
        """Put what is wrong with the tiers beside their fields."""
        super().clean()
        if any(self.errors):
            return
        written = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        in_order = sorted(written, key=lambda form: form.cleaned_data["position"])
        members = {name: getattr(self.instance, name, None) for name in PRICE_MEMBERS}
        tiers = [{name: form.cleaned_data[name] for name in TIER_MEMBERS} for form in in_order]
        for error in _mistakes(_members(members) | {"tiers": tiers}):
            if error.field == "tiers":
                raise forms.ValidationError(error.message, code=error.code)
            if error.field.startswith("tiers["):
                place, _, name = error.field.removeprefix("tiers[").partition("]")
                in_order[int(place)].add_error(name.removeprefix(".") or None, error.message)


class CellForm(forms.ModelForm):
    """One cell of a matrix, judged together with the others by the formset."""

    class Meta:
        model = PriceCell
        fields = ("first_value", "second_value", "unit_amount")


class CellFormSet(BaseInlineFormSet):
    """The cells of a matrix: each with a value for each dimension, none twice."""

    def clean(self) -> None:
        """Put what is wrong with the cells beside their fields; what else must be unique is looked at after that."""
        if any(self.errors):
            return
        written = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        in_order = sorted(written, key=lambda form: form.cleaned_data["position"])
        members = {name: getattr(self.instance, name, None) for name in (*PRICE_MEMBERS, *DIMENSION_COLUMNS)}
        length = len(_dimensions(members))
        cells = [_cell(form.cleaned_data, length) for form in in_order]
        for error in _mistakes(_members(members) | {"cells": cells}):
            if error.field == "cells":
                raise forms.ValidationError(error.message, code=error.code)
            if error.field.startswith("cells["):
                place, _, name = error.field.removeprefix("cells[").partition("].")
                field = CELL_FIELDS.get(name, name)
                in_order[int(place)].add_error(field if field in in_order[int(place)].fields else None, error.message)
        if not any(form.errors for form in in_order):
            super().clean()


def _cell(fields: dict[str, Any], length: int) -> dict[str, Any]:
    values = [fields["first_value"], fields["second_value"]]
    if length == 1 and values[1] is None:
        values = values[:1]
    return {"values": values, "unit_amount": fields["unit_amount"]}


def _dimensions(fields: dict[str, Any]) -> list[str]:
    return [name for column in DIMENSION_COLUMNS if (name := fields.get(column))]


def _members(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what belongs to the price object and is there."""
    names = [name for name in PRICE_MEMBERS if name == "model" or name not in STRUCTURES]
    members = {name: fields[name] for name in names if fields.get(name) not in (None, "")}
    dimensions = _dimensions(fields)
    return members | {"dimensions": dimensions} if dimensions else members


def _mistakes(document: dict[str, Any]) -> tuple[FieldError, ...]:
    return price_mistakes(document=document)
