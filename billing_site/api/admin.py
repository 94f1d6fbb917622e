"""API keys: made here and shown once, looked at without their secret, revoked."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from billing_site.api.models import ApiKey
from billing_site.api.operations import create_api_key, revoke_api_key
from billing_site.api.scopes import SCOPES
from billing_site.display.admin import ReadOnlyAdmin, add_field_errors, attempt, confirmation, go
from billing_site.display.figures import NOTHING, moment
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError


class NewKeyForm(forms.Form):
    """What a key is for."""

    name = forms.CharField(
        max_length=200, widget=UnfoldAdminTextInputWidget(), help_text="Who uses it: ingest of the EU cluster."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in SCOPES], widget=UnfoldAdminCheckboxSelectMultipleWidget()
    )
    customer = forms.CharField(
        max_length=100,
        required=False,
        label="Only for customer",
        widget=UnfoldAdminTextInputWidget(),
        help_text="A customer's key, where the caller may see that customer only; empty: all.",
    )


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Who may call the API."""

    list_display = ("name", "beginning", "state", "scope_list", "customer_key", "created", "last_used")
    search_fields = ("name", "prefix", "customer_key")
    ordering = ("-id",)
    fields = ("name", "beginning", "state", "scope_list", "customer_key", "created", "last_used")
    readonly_fields = fields
    actions_detail = ("revoke",)
    empty_message = "Programs need a key to call the API. Make one here or with `manage.py create_api_key`."

    @admin.display(description="Begins with", ordering="prefix")
    def beginning(self, key: ApiKey) -> str:
        """Show the readable beginning."""
        return f"{key.prefix}…"

    @admin.display(description="State")
    def state(self, key: ApiKey) -> SafeString:
        """Show whether it still works."""
        return pill("revoked") if key.revoked_at else pill("active")

    @admin.display(description="Scopes")
    def scope_list(self, key: ApiKey) -> str:
        """List what it may do."""
        return ", ".join(key.scopes)

    @admin.display(description="Made", ordering="created_at")
    def created(self, key: ApiKey) -> SafeString:
        """Show when it was made."""
        return moment(key.created_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> SafeString:
        """Show when it was last used."""
        return moment(key.last_used_at) if key.last_used_at else NOTHING

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Keys are made here by those who may."""
        return bool(request.user.has_perm("api.add_apikey"))

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Make a key and show it, this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewKeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            try:
                key = create_api_key(name=given["name"], scopes=given["scopes"], customer_key=given["customer"])
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                response = TemplateResponse(
                    request, "backoffice/new_key.html", self.page_context(request, title="New API key", key=key)
                )
                response["Cache-Control"] = "no-store"
                return response
        return confirmation(
            request,
            admin=self,
            title="New API key",
            effect="The key is shown once, on the next page. Only its digest is kept.",
            form=form,
            submit="Make the key",
            back=reverse("admin:api_apikey_changelist"),
        )

    @action(description="Revoke", url_path="revoke")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End a key after a confirmation."""
        key = self.row_or_404(request, object_id)
        if not request.user.has_perm("api.change_apikey"):
            raise PermissionDenied
        page = reverse("admin:api_apikey_change", args=[key.pk])
        if key.revoked_at is not None:
            messages.warning(request, "This key is revoked already.")
            return go(page)
        if request.method == "POST":
            attempt(
                request,
                lambda: revoke_api_key(prefix=key.prefix, at=now()),
                done=lambda revoked: f"{revoked} is revoked: requests with it are refused from now on.",
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Revoke {key.name}",
            effect="Requests with this key are refused from this moment on. It cannot be undone.",
            form=forms.Form(),
            submit="Revoke the key",
            back=page,
            dangerous=True,
            row=key,
        )
