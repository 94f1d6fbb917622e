"""Prices: edited while their version is a draft, said in words and tried with any quantity for ever."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db import models
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from unfold.admin import TabularInline

from billing_site.display.admin import StaffAdmin, actor_of, go
from billing_site.kernel.errors import BillingError
from invoicing.admin.price_form import EXACT_NUMBERS, CellForm, CellFormSet, PriceForm, TierForm, TierFormSet
from invoicing.catalog.draft import note_price
from invoicing.catalog.mapping import core_price
from invoicing.catalog.models import PlanVersion, Price, PriceCell, PriceTier
from invoicing.catalog.price_words import CELLS_SAID_MAX, price_in_words
from invoicing.core import contract
from invoicing.core.contract import PriceModel
from invoicing.core.definition import OPTIONAL, PRICE_MEMBERS, REQUIRED, STRUCTURES, definition_of
from invoicing.core.detail import values_text
from invoicing.workflows.price_preview import preview_price


class RateInline(TabularInline):
    """Rows of a price, in order."""

    formfield_overrides: ClassVar = {models.DecimalField: EXACT_NUMBERS}
    extra = 0
    ordering = ("position",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They change with a draft only."""
        return _is_open(obj) and bool(super().has_add_permission(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """They change with a draft only."""
        return _is_open(obj) and bool(super().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those of a draft may go."""
        return self.has_change_permission(request, obj)


class TierInline(RateInline):
    """The tiers of a price."""

    model = PriceTier
    form = TierForm
    formset = TierFormSet
    fields = ("position", "up_to", "unit_amount", "flat_amount", "rate")


class CellInline(RateInline):
    """The cells of a matrix."""

    model = PriceCell
    form = CellForm
    formset = CellFormSet
    fields = ("position", "first_value", "second_value", "unit_amount")


def _shown_for(name: str) -> str:
    """Return the condition under which a field of the form is shown: its model has it, or something stands in it already."""
    models_with_it = [model.value for model in PriceModel if name in (*REQUIRED[model], *OPTIONAL[model])]
    return f"{models_with_it}.includes(model) || {name} > 0"


# Without a script all fields are shown; what does not belong to the model is refused at its field.
CONDITIONS = {
    **{name: _shown_for(name) for name in PRICE_MEMBERS if name not in STRUCTURES},
    "in_advance": "model == 'flat' || in_advance",
    "first_dimension": "model == 'matrix' || first_dimension",
    "second_dimension": "model == 'matrix' || second_dimension",
}


@admin.register(Price)
class PriceAdmin(StaffAdmin):
    """One price: edited while its version is a draft, and tried with any quantity."""

    form = PriceForm
    formfield_overrides: ClassVar = {models.DecimalField: EXACT_NUMBERS}
    list_display = ("name", "plan_version", "currency", "model", "words")
    list_filter = ("currency", "model", "plan_version__plan")
    list_select_related = ("plan_version__plan", "meter")
    search_fields = ("key", "name", "plan_version__plan__name")
    ordering = ("plan_version__plan__name", "-plan_version__number", "currency", "position")
    inlines = (TierInline, CellInline)
    conditional_fields = CONDITIONS
    add_title = "Add a price"
    add_words = "Choose the model first: only what it needs is asked for. Amounts are in the currency of the price, exact to 12 decimals."
    change_form_outer_before_template = "backoffice/price_preview.html"
    fieldsets = (
        (None, {"fields": ("plan_version", ("key", "name"), "meter", ("currency", "position"))}),
        (
            "Rate",
            {
                "fields": (
                    ("model", "in_advance"),
                    ("unit_amount", "rate"),
                    ("package_size", "package_amount"),
                    "free_units",
                    ("minimum_amount", "maximum_amount"),
                )
            },
        ),
        (
            "Each event",
            {
                "fields": ("fixed_amount_per_event", ("minimum_amount_per_event", "maximum_amount_per_event")),
                "description": "A percentage of each event by itself, such as a card fee of 2.9 % and USD 0.30.",
            },
        ),
        (
            "Matrix",
            {
                "fields": (("first_dimension", "second_dimension"), "default_unit_amount"),
                "description": "Each unit costs what the cell of its values says.",
            },
        ),
        ("Why", {"fields": ("reason",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Load what the words need."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.prefetch_related("tiers", "cells")

    @admin.display(description="In words")
    def words(self, price: Price) -> str:
        """Say what it costs."""
        return " ".join(price_in_words(price=price, cadence=price.plan_version.cadence))

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Prices change with a draft only."""
        return _is_open(obj) and bool(super().has_change_permission(request, obj))

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer drafts only: published versions take no price."""
        if db_field.name == "plan_version":
            options["queryset"] = PlanVersion.objects.filter(published_at__isnull=True).select_related("plan")
        return super().formfield_for_foreignkey(db_field, request, **options)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the price, and keep what it cost before."""
        if change:
            form.words_before = _said(Price.objects.get(pk=obj.pk))
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the tiers and cells, then let the version's history say who changed what, and why."""
        super().save_related(request, form, formsets, change)
        price = Price.objects.get(pk=form.instance.pk)
        note_price(
            price=price,
            before=form.words_before,
            after=_said(price),
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Put the words and the live preview above the form; a published price has no form."""
        price = self.row_or_404(request, object_id)
        words = price_in_words(price=price, cadence=price.plan_version.cadence)
        if not self.has_change_permission(request, price):
            context = self.page_context(
                request, title=price.name, row=price, original=price, price_words=words, asked=_asked(price)
            )
            return TemplateResponse(request, "backoffice/price.html", context)
        context = {"price_words": words, "asked": _asked(price)}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def get_urls(self) -> list[Any]:
        """Add the address that answers the live preview."""
        preview = path(
            "<int:price_id>/preview/", self.admin_site.admin_view(self.preview), name="invoicing_price_preview"
        )
        return [preview, *super().get_urls()]

    def preview(self, request: HttpRequest, price_id: int) -> HttpResponse:
        """Answer what the stored price makes of a quantity, as a fragment of HTML."""
        price = self.row_or_404(request, str(price_id))
        asked = core_price(price=price)
        context: dict[str, Any] = {"price": price}
        try:
            context["preview"] = preview_price(
                definition=definition_of(asked),
                currency=price.currency,
                **_typed_for(request, asked),
            )
        except BillingError as problem:
            context["problem"] = problem.message
        return TemplateResponse(request, "backoffice/price_preview_result.html", context)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the version's page, where the price stands in words."""
        return go(reverse("admin:invoicing_planversion_change", args=[obj.plan_version_id]))

    response_post_save_add = response_post_save_change


def _said(price: Price) -> str:
    return " ".join(price_in_words(price=price, cadence=price.plan_version.cadence)).rstrip(".")


def _typed_for(request: HttpRequest, price: contract.Price) -> dict[str, Any]:
    """Return what was typed, as the price asks for it: beside the cells of a matrix, event by event, or one quantity."""
    if price.is_per_event:
        amounts = request.GET.get("events", "").replace(",", "").split()
        return {"events": [{"quantity": amount} for amount in amounts]}
    if not price.cells:
        return {"quantity": _typed(request, "quantity")}
    places = [(f"cell-{place}", list(cell.values)) for place, cell in enumerate(price.cells)]
    typed = [(_typed(request, name), values) for name, values in [*places, ("other", None)]]
    return {"groups": [{"values": values, "quantity": quantity} for quantity, values in typed if quantity]}


def _typed(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace(" ", "").replace(",", "")


def _asked(price: Price) -> list[tuple[str, str]]:
    """Return the fields of the live preview and what is typed there: for each cell of a matrix, otherwise one."""
    shown = core_price(price=price)
    if shown.is_per_event:
        return [("events", "Amounts of events, for example 12.50 3 100")]
    if not shown.cells:
        return [("quantity", "Quantity, for example 1000000")]
    cells = [
        (f"cell-{place}", values_text(dimensions=shown.dimensions, values=cell.values[: len(shown.dimensions)]))
        for place, cell in enumerate(shown.cells[:CELLS_SAID_MAX])
    ]
    return [*cells, ("other", f"any other {' and '.join(shown.dimensions)}")]


def _is_open(price: Any) -> bool:
    return not isinstance(price, Price) or price.plan_version.published_at is None
