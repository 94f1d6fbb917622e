"""Plans, prices and meters in forms: chosen by their names, kept as their keys."""

from collections.abc import Iterable
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from invoicing.catalog.models import Plan, Price
from metering.models import Meter


class KeysField(forms.MultipleChoiceField):
    """Some of what exists, each by its key; nothing chosen means all."""

    def __init__(self, *, noun: str, **options: Any) -> None:
        """Say in plain words what is not there."""
        messages = {"invalid_choice": f"there is no {noun} '%(value)s'"}
        super().__init__(required=False, widget=UnfoldAdminSelect2MultipleWidget(), error_messages=messages, **options)

    def offer(self, rows: Iterable[tuple[str, str]]) -> None:
        """Offer keys with their names; of several names the first stands."""
        names: dict[str, str] = {}
        for key, name in rows:
            names.setdefault(key, name)
        self.choices = [(key, f"{name} ({key})") for key, name in names.items()]


def offer_what_exists(form: forms.BaseForm) -> None:
    """Fill the fields `plans`, `prices` and `meters` of a form with what there is."""
    offers = {
        "plans": lambda: Plan.objects.order_by("name").values_list("key", "name"),
        "prices": lambda: Price.objects.order_by("name", "-id").values_list("key", "name"),
        "meters": lambda: Meter.objects.order_by("name").values_list("key", "name"),
    }
    for name, rows in offers.items():
        field = form.fields.get(name)
        if isinstance(field, KeysField):
            field.offer(rows())
