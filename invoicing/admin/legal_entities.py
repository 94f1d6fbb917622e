"""Legal entities in the admin: who sells, what documents say of each, and what their numbers begin with."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget, UnfoldBooleanSwitchWidget

from billing_site.display.admin import OperationForm, TrackedAdmin
from billing_site.display.figures import link
from invoicing.entities.models import LegalEntity
from invoicing.entities.operations import TEXTS, change_entity, create_entity


class LegalEntityForm(OperationForm):
    """What documents say of who sells, and why it is so; what is accepted is what the operation accepts."""

    new_logo = forms.FileField(
        required=False,
        label="Logo",
        widget=UnfoldAdminFileFieldWidget,
        help_text="A PNG or JPEG file of at most 64 KiB. What is issued keeps the one that it was issued with.",
    )
    without_logo = forms.BooleanField(required=False, label="Print no logo", widget=UnfoldBooleanSwitchWidget)
    why = forms.CharField(
        max_length=300,
        label="Reason",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    renamed: ClassVar = {"logo": "new_logo"}

    class Meta:
        model = LegalEntity
        fields = ("key", *TEXTS)
        # As many lines as an address and two bank accounts have.
        widgets: ClassVar = {name: UnfoldAdminTextareaWidget(attrs={"rows": 4}) for name in ("address", "bank")}

    def validate_unique(self) -> None:
        """Leave it to the operation, which tells what differs."""

    def clean_new_logo(self) -> bytes:
        """Return the file's bytes; none where there is no new one."""
        file = self.cleaned_data["new_logo"]
        return file.read() if isinstance(file, UploadedFile) else b""

    def operate(self, *, actor: str) -> Model:
        """Create it, or change what the form says otherwise."""
        given = {name: self.cleaned_data[name] for name in ("key", *TEXTS) if name in self.cleaned_data}
        if self.cleaned_data["new_logo"] or self.cleaned_data["without_logo"]:
            given["logo"] = b"" if self.cleaned_data["without_logo"] else self.cleaned_data["new_logo"]
        reason = self.cleaned_data["why"]
        if self.instance.pk is None:
            return create_entity(**given, actor=actor, reason=reason)
        return change_entity(entity=self.instance, changes=given, actor=actor, reason=reason)


@admin.register(LegalEntity)
class LegalEntityAdmin(TrackedAdmin):
    """Who sells."""

    form = LegalEntityForm
    list_display = ("name", "key", "invoice_prefix", "credit_note_prefix", "customer_count")
    search_fields = ("key", "name")
    ordering = ("pk",)
    fieldsets = (
        ("Who", {"fields": ("key", "name", "address", "email")}),
        ("On documents", {"fields": ("tax_id", "registration", "bank", "new_logo", "without_logo")}),
        ("Numbers", {"fields": ("invoice_prefix", "credit_note_prefix")}),
        ("Why", {"fields": ("why",)}),
    )
    add_title = "Add a legal entity"
    add_words = (
        "It sells to the customers who are given to it, and issues their invoices under its own numbers."
        " Where it charges tax, say so under How tax is charged."
    )
    empty_message = "The first is made of the settings at the first start."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Count the customers of each with the page."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.annotate(customer_count=Count("customers"))

    @admin.display(description="Customers", ordering="customer_count")
    def customer_count(self, entity: Any) -> SafeString:
        """Show how many it sells to, as a link to them."""
        address = f"{reverse('admin:invoicing_customer_changelist')}?legal_entity__key__exact={entity.key}"
        return link(address, str(entity.customer_count))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Its key stays, and its prefixes as soon as something was issued under them."""
        if obj is None:
            return ()
        return ("key", "invoice_prefix", "credit_note_prefix") if obj.series.exists() else ("key",)
