"""The choice of who sells, as forms ask for it."""

from collections.abc import Mapping
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget

from invoicing.entities.models import LegalEntity


class SellerField(forms.ModelChoiceField):
    """One of the legal entities; left out it is the first."""

    def __init__(self, *, help_text: str = "") -> None:
        """Offer all of them, the first first."""
        super().__init__(
            queryset=LegalEntity.objects.order_by("pk"),
            to_field_name="key",
            required=False,
            empty_label=None,
            label="Legal entity",
            widget=UnfoldAdminSelectWidget(),
            help_text=help_text,
        )


def with_seller_key(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as operations take them: a legal entity by its key, and none where nobody said one."""
    told = dict(fields)
    seller = told.pop("legal_entity", None)
    return told if seller is None else told | {"legal_entity": seller.key}
