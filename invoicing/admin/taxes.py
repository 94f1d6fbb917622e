"""Tax in the admin: how each legal entity charges it, where it is registered, rates, and what is known of customers; dated rows are ended, never edited."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget, UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    OperationForm,
    ReasonForm,
    StaffAdmin,
    TrackedAdmin,
    actor_of,
    attempt,
    confirmation,
    go,
)
from invoicing.admin.seller_field import SellerField, with_seller_key
from invoicing.core.tax_document import percent_text
from invoicing.tax.models import ROUNDINGS, CustomerTax, SellerTax, TaxExemption, TaxRate, TaxRegistration
from invoicing.tax.operations import (
    add_exemption,
    add_rate,
    add_registration,
    end_dated,
    set_customer_tax,
    set_seller_tax,
)


class TaxForm(OperationForm):
    """Tax data and why; what is accepted is what the operation accepts."""

    why = forms.CharField(
        max_length=300,
        label="Reason",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    renamed: ClassVar = {"law": "reason"}

    def validate_unique(self) -> None:
        """Leave it to the operation: the same a second time is what exists."""

    def fields_given(self) -> dict[str, Any]:
        """Return what the model's fields were given."""
        return with_seller_key({name: self.cleaned_data[name] for name in self._meta.fields or () if name != "why"})


class SellerTaxForm(TaxForm):
    """How a legal entity charges tax from a day on."""

    legal_entity = SellerField()
    rounding = forms.ChoiceField(
        required=False,
        choices=[("", "As the law of the country asks"), *ROUNDINGS],
        initial="",
        widget=UnfoldAdminSelectWidget(),
    )

    class Meta:
        model = SellerTax
        fields = ("legal_entity", "valid_from", "country", "rounding", "prices_include_tax")

    def operate(self, *, actor: str) -> Model:
        """Set them."""
        return set_seller_tax(**self.fields_given(), actor=actor, reason=self.cleaned_data["why"])


class RegistrationForm(TaxForm):
    """Where a legal entity is registered."""

    legal_entity = SellerField()

    class Meta:
        model = TaxRegistration
        fields = ("legal_entity", "jurisdiction", "number", "valid_from", "valid_to")

    def operate(self, *, actor: str) -> Model:
        """Add it."""
        return add_registration(**self.fields_given(), actor=actor, reason=self.cleaned_data["why"])


class RateForm(TaxForm):
    """A rate of a place."""

    class Meta:
        model = TaxRate
        fields = ("jurisdiction", "name", "rate", "valid_from", "valid_to")

    def operate(self, *, actor: str) -> Model:
        """Add it."""
        return add_rate(**self.fields_given(), actor=actor, reason=self.cleaned_data["why"])


class ExemptionForm(TaxForm):
    """Why a customer pays no tax of a place."""

    class Meta:
        model = TaxExemption
        fields = ("customer", "jurisdiction", "reason", "evidence", "valid_from", "valid_to")
        labels = {"reason": "Sentence on the invoice"}

    def operate(self, *, actor: str) -> Model:
        """Add it."""
        fields = self.fields_given()
        return add_exemption(law=fields.pop("reason"), **fields, actor=actor, reason=self.cleaned_data["why"])


class CustomerTaxForm(TaxForm):
    """Where a customer is, and by which number tax law knows it."""

    class Meta:
        model = CustomerTax
        fields = ("customer", "country", "region", "postal_code", "city", "line1", "vat_id")
        labels = {"vat_id": "VAT id"}

    def operate(self, *, actor: str) -> Model:
        """Set it."""
        fields = self.fields_given() if self.instance.pk is None else self._of_instance()
        return set_customer_tax(**fields, actor=actor, reason=self.cleaned_data["why"])

    def _of_instance(self) -> dict[str, Any]:
        given = {name: self.cleaned_data[name] for name in self._meta.fields or () if name not in ("customer", "why")}
        return {"customer": self.instance.customer, **given}


class TaxAdmin(TrackedAdmin):
    """Rows that are added through their operation, with a reason."""

    form: type[TaxForm]

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Ask for everything and why; show what is kept."""
        named = tuple(self.form._meta.fields or ())
        return named if obj is not None and not self.has_change_permission(request, obj) else (*named, "why")


class DatedAdmin(TaxAdmin):
    """Rows that hold on some days: never edited, only ended."""

    ordering = ("-valid_from", "-id")
    actions_detail = ("end",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """What was taxed by it stays explained."""
        return False

    @action(description="End", url_path="end")
    def end(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask from when on and why, then end it."""
        row = self.row_or_404(request, object_id)
        if not request.user.has_perm(f"invoicing.change_{self.opts.model_name}"):
            raise PermissionDenied
        page = reverse(f"admin:invoicing_{self.opts.model_name}_change", args=[row.pk])
        form = EndForm(request.POST or None, initial={"valid_to": row.valid_to})
        if request.method == "POST" and form.is_valid():
            until = form.cleaned_data["valid_to"]
            attempt(
                request,
                lambda: end_dated(row=row, valid_to=until, actor=actor_of(request), reason=form.cleaned_data["reason"]),
                done=lambda _: f"{row} {f'holds until {until}' if until else 'goes on'}.",
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"End {self.opts.verbose_name} {row}",
            effect="Services that end on that day or later are taxed without it. Invoices that are issued keep what they were taxed by;"
            " drafts are computed again.",
            form=form,
            submit="End it",
            back=page,
            row=row,
        )


class EndForm(ReasonForm):
    """From when on a row holds no more, and why."""

    valid_to = forms.DateField(
        required=False,
        label="First day without it",
        widget=UnfoldAdminSingleDateWidget(),
        help_text="Its own first day takes it back; empty lets it go on.",
    )


@admin.register(SellerTax)
class SellerTaxAdmin(StaffAdmin):
    """How legal entities charge tax: superseded, never edited."""

    form = SellerTaxForm
    list_display = ("valid_from", "legal_entity", "country", "rounding", "prices_include_tax", "actor", "reason")
    list_filter = ("legal_entity",)
    list_select_related = ("legal_entity",)
    ordering = ("-valid_from", "-id")
    empty_message = (
        "No tax is charged: invoices are issued without. To charge it, say here from when on, then add registrations"
        " and rates, and where each customer is."
    )

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Ask for everything and why; show what was said."""
        named = SellerTaxForm.Meta.fields
        return (*named, "why") if obj is None else (*named, "actor", "reason", "recorded_at")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """What was said stays; a newer word holds."""
        return False


@admin.register(TaxRegistration)
class TaxRegistrationAdmin(DatedAdmin):
    """Where legal entities are registered for tax."""

    form = RegistrationForm
    list_display = ("jurisdiction", "number", "legal_entity", "valid_from", "valid_to")
    list_filter = ("legal_entity",)
    list_select_related = ("legal_entity",)
    search_fields = ("jurisdiction", "number")
    empty_message = "Tax is charged where the seller is registered; EU is the One-Stop Shop. Without a registration no tax is charged there."


@admin.register(TaxRate)
class TaxRateAdmin(DatedAdmin):
    """Rates of tax."""

    form = RateForm
    list_display = ("jurisdiction", "name", "percent", "valid_from", "valid_to")
    list_filter = ("jurisdiction",)
    search_fields = ("jurisdiction", "name")
    empty_message = (
        "A rate holds in a place from a day on. Where the company is registered and no rate holds, nothing is issued."
    )

    @admin.display(description="Rate", ordering="rate")
    def percent(self, rate: TaxRate) -> str:
        """Write it as people read it."""
        return percent_text(rate.rate)


class _OfCustomer(TaxAdmin):
    list_select_related = ("customer",)
    autocomplete_fields = ("customer",)


@admin.register(TaxExemption)
class TaxExemptionAdmin(_OfCustomer, DatedAdmin):
    """Who pays no tax of a place, and what proves it."""

    form = ExemptionForm
    list_display = ("customer", "jurisdiction", "reason", "evidence", "valid_from", "valid_to")
    list_filter = ("jurisdiction",)
    search_fields = ("customer__key", "customer__name", "evidence")
    empty_message = "An exemption says why a customer pays no tax of a place, and what proves it."


@admin.register(CustomerTax)
class CustomerTaxAdmin(_OfCustomer):
    """Where customers are for tax."""

    form = CustomerTaxForm
    list_display = ("customer", "country", "region", "postal_code", "city", "vat_id")
    list_filter = ("country",)
    search_fields = ("customer__key", "customer__name", "vat_id")
    ordering = ("customer__name", "id")
    empty_message = (
        "Where customers are for tax. While it is not known of one, its invoices stay drafts once tax is charged."
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Keep whose it is."""
        return ("customer",) if obj else ()

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the customer's page, where it stands."""
        return go(reverse("admin:invoicing_customer_change", args=[obj.customer_id]))

    response_post_save_add = response_post_save_change
