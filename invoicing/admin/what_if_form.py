"""The form that asks what other prices would have made of closed periods."""

from pathlib import PurePath
from typing import Any

from django import forms
from django.db.models import Prefetch
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget

from billing_site.kernel.errors import BillingError
from invoicing.catalog.file import read_catalog_text
from invoicing.catalog.models import Plan, PlanVersion
from invoicing.workflows.what_if import card_of_version, cards_of_catalog

MONTHS = (1, 2, 3, 6, 12, 24, 36)
FILE_BYTES_MAX = 1024**2


class WhatIfForm(forms.Form):
    """Which price list stands in place of those that a plan's customers had, and how far back."""

    months = forms.TypedChoiceField(
        coerce=int,
        initial=3,
        label="Closed periods of",
        choices=[(number, f"the last {number} months" if number > 1 else "the last month") for number in MONTHS],
        widget=UnfoldAdminSelectWidget,
        help_text="Full calendar months, each customer's in its own time zone; what was issued in them is computed again.",
    )
    file = forms.FileField(
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        label="Or a catalog file",
        help_text="Plans as `load_catalog` takes them, JSON or YAML; nothing of it is loaded.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cards: list[dict[str, Any]] = []
        self.versions: dict[str, dict[str, PlanVersion]] = {}
        versions = Prefetch("versions", PlanVersion.objects.select_related("plan__product").order_by("-number"))
        for plan in (
            Plan.objects.filter(versions__published_at__isnull=False)
            .distinct()
            .order_by("name", "id")
            .prefetch_related(versions)
        ):
            name = f"plan-{plan.pk}"
            self.versions[name] = {str(version.pk): version for version in plan.versions.all()}
            self.fields[name] = forms.ChoiceField(
                required=False,
                label=plan.name,
                widget=UnfoldAdminSelectWidget,
                choices=[
                    ("", "as each customer had it"),
                    *((pk, f"version {one.number} ({_state(one)}) for all") for pk, one in self.versions[name].items()),
                ],
            )
        self.order_fields(["months", *self.versions, "file"])

    def clean_file(self) -> Any:
        """Read the price lists of the file."""
        file = self.cleaned_data["file"]
        if file is None:
            return None
        if file.size > FILE_BYTES_MAX:
            raise forms.ValidationError("is larger than 1 MB: a catalog has no such size")
        try:
            text = file.read().decode()
        except UnicodeDecodeError:
            raise forms.ValidationError("is not text in UTF-8") from None
        try:
            self.cards += cards_of_catalog(document=read_catalog_text(text=text, name=PurePath(file.name).name))
        except BillingError as problem:
            raise forms.ValidationError(_sentences(problem)) from problem
        return file

    def clean(self) -> dict[str, Any]:
        """Take the chosen versions as they are now."""
        cleaned: dict[str, Any] = super().clean() or {}
        for name, versions in self.versions.items():
            if not cleaned.get(name):
                continue
            try:
                self.cards.append(card_of_version(version=versions[cleaned[name]]))
            except BillingError as problem:
                self.add_error(name, forms.ValidationError(_sentences(problem)))
        return cleaned


def _state(version: PlanVersion) -> str:
    return "published" if version.published_at else "draft"


def _sentences(problem: BillingError) -> list[str]:
    return [f"{error.field}: {error.message}" for error in problem.field_errors] or [problem.message]
