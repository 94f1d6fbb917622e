"""What our accounts are called in DATEV, Xero, QuickBooks and beancount: looked at and changed with a reason."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import TrackedAdmin, actor_of, add_field_errors
from billing_site.kernel.errors import BillingError
from invoicing.reports.mapping import check_code, map_account
from invoicing.reports.models import AccountMapping


class AccountMappingForm(forms.ModelForm):
    """One account's name in one system, and why; what is accepted is what the operation accepts."""

    reason = forms.CharField(
        max_length=300,
        label="Reason for the change",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    class Meta:
        model = AccountMapping
        fields = ("system", "account", "code")

    def clean(self) -> dict[str, Any]:
        """Ask the operation's own check."""
        cleaned = super().clean() or {}
        system = cleaned.get("system") or self.instance.system
        if system and cleaned.get("code"):
            try:
                check_code(system=system, code=cleaned["code"])
            except BillingError as problem:
                add_field_errors(self, problem)
        return cleaned


@admin.register(AccountMapping)
class AccountMappingAdmin(TrackedAdmin):
    """What our accounts are called elsewhere."""

    form = AccountMappingForm
    list_display = ("account", "system", "code")
    list_display_links = ("account",)
    list_filter = ("system",)
    search_fields = ("account__code", "account__name", "code")
    ordering = ("system", "account__code")
    fieldsets = ((None, {"fields": ("system", "account", "code")}), ("Why", {"fields": ("reason",)}))
    empty_message = (
        "Without a mapping Xero is told our numbers, QuickBooks and beancount names made of ours. DATEV needs one for every account: "
        "its charts (SKR 03, SKR 04) give our numbers other meanings."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Load the accounts with the page."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.select_related("account")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Which account in which system stays; only its name there changes."""
        return ("system", "account") if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Change it through the operation, with actor and reason."""
        row = map_account(
            system=obj.system,
            account=obj.account,
            code=form.cleaned_data["code"],
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
        )
        obj.pk = row.pk
