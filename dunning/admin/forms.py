"""What people are asked when they arrange something with a customer."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from moneyed import Money
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from billing_site.display.admin import ReasonForm
from billing_site.display.amount_field import AmountField
from dunning.admin.instalments_field import InstalmentsField
from dunning.arrangements.models import HoldKind
from dunning.core.policy import Rung
from invoicing.invoices.models import Invoice


class HoldForm(ReasonForm):
    """Why nothing is done, and until when."""

    kind = forms.ChoiceField(choices=HoldKind.choices, widget=UnfoldAdminSelectWidget())
    until = forms.SplitDateTimeField(
        required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text="UTC. Empty: until somebody lifts it."
    )
    field_order = ("kind", "until", "reason")


class OwnerForm(ReasonForm):
    """Who is asked, and until when."""

    owner = forms.ChoiceField(widget=UnfoldAdminSelectWidget())
    until = forms.DateField(
        widget=UnfoldAdminSingleDateWidget(), help_text="The end of that day, where the customer is."
    )
    field_order = ("owner", "until", "reason")

    def __init__(self, *arguments: Any, path: Sequence[Rung], **options: Any) -> None:
        super().__init__(*arguments, **options)
        field = self.fields["owner"]
        assert isinstance(field, forms.ChoiceField), "as it is declared above"
        people = get_user_model().objects.filter(is_active=True, is_staff=True).order_by("username")
        named = [(user.get_username(), user.get_full_name() or user.get_username()) for user in people]
        groups = [(name, name) for name in Group.objects.order_by("name").values_list("name", flat=True)]
        of_path = [(rung.owner, rung.owner) for rung in path]
        kinds = [("By the policy", of_path), ("People", named), ("Groups", groups)]
        field.choices = [("", "Choose"), *((kind, ones) for kind, ones in kinds if ones)]


class StepForm(ReasonForm):
    """Which step was shown to whoever takes it."""

    number = forms.IntegerField(widget=forms.HiddenInput())


class ShownForm(ReasonForm):
    """What was shown to whoever decides about it."""

    digest = forms.CharField(max_length=64, widget=forms.HiddenInput())


class PromiseForm(ReasonForm):
    """What is promised, a row for each day."""

    def __init__(self, *arguments: Any, late: Money, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fields["instalments"] = InstalmentsField(late=late)
        self.order_fields(("instalments", "reason"))


class ObjectionForm(ReasonForm):
    """Which invoice, and how much of it."""

    invoice = forms.ModelChoiceField(queryset=Invoice.objects.none(), widget=UnfoldAdminSelectWidget())
    amount = AmountField(min_value=Decimal(0))
    field_order = ("invoice", "amount", "reason")

    def __init__(self, *arguments: Any, invoices: "QuerySet[Invoice]", **options: Any) -> None:
        super().__init__(*arguments, **options)
        field = self.fields["invoice"]
        assert isinstance(field, forms.ModelChoiceField), "as it is declared above"
        field.queryset = invoices

    def clean(self) -> dict[str, Any]:
        """Give the amount the invoice's currency."""
        cleaned = super().clean() or {}
        if "invoice" in cleaned and "amount" in cleaned:
            cleaned["money"] = Money(cleaned["amount"], cleaned["invoice"].currency)
        return cleaned
