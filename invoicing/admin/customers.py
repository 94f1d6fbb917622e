"""Customers: the list with what each owes, the page that answers who, how much and why, and changes with a reason."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.db.models import Model, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing_site.display.admin import actor_of, add_field_errors, go
from billing_site.display.figures import NOTHING, balance, link
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.admin.customer_page import customer_page
from invoicing.admin.life_cycle import MOVE, LifeCyclePages, life_cycle_card, state_words
from invoicing.admin.payer_field import with_keys
from invoicing.admin.seller_field import SellerField
from invoicing.core.life_cycle import State
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer
from invoicing.customers.operations import CHANGEABLE, change_customer, check_customer_fields, create_customer
from invoicing.customers.portal_links import link_for
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import AMOUNT_DUE
from invoicing.workflows.find_saving import find_saving
from invoicing.workflows.offboarding import customers_to_close
from invoicing.workflows.tax_gaps import without_tax_data

FIXED = ("key", "currency", "timezone")
TO_CLOSE = "closing"


class CustomerForm(forms.ModelForm):
    """A customer's fields and the reason for the change; what is accepted is what the operation accepts."""

    reason = forms.CharField(
        max_length=300,
        label="Reason for the change",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    legal_entity = SellerField(help_text="Who sells to it. It stays as soon as there is an invoice or credit.")

    class Meta:
        model = Customer
        fields = (*FIXED, *CHANGEABLE)

    def clean(self) -> dict[str, Any]:
        """Ask the operation's own check, so that form and API refuse the same things in the same words."""
        cleaned = super().clean() or {}
        given = with_keys({name: cleaned[name] for name in (*FIXED, *CHANGEABLE) if name in cleaned})
        known = given | ({"currency": self.instance.currency} if self.instance.pk else {})
        try:
            check_customer_fields(known)
            if {"billed_to", "legal_entity"} & set(self.changed_data) and not self.errors:
                self._try(given)
        except BillingError as problem:
            add_field_errors(self, problem)
        return cleaned

    def _try(self, given: dict[str, Any]) -> None:
        """Do what is asked for, and take it back: who is billed depends on what there is of both."""
        told: dict[str, Any] = {"actor": "form", "reason": "tried"}
        with transaction.atomic():
            if self.instance.pk:
                changes = {name: value for name, value in given.items() if name in CHANGEABLE}
                change_customer(customer=self.instance, changes=changes, **told)
            else:
                create_customer(**given, **told)
            transaction.set_rollback(True)


class OwesFilter(admin.SimpleListFilter):
    """Customers with unpaid issued invoices."""

    title = "balance"
    parameter_name = "balance"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("open", "Owes something")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those with an open balance."""
        return queryset.filter(open_balance__gt=0) if self.value() == "open" else queryset


class StateFilter(admin.SimpleListFilter):
    """By where customers stand in their life."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states, and among those that have churned who is not closed."""
        states = [(state.value, state_words(state).capitalize()) for state in State]
        return [*states, (TO_CLOSE, "Churned, not closed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the customers that are recorded in the state."""
        if self.value() == TO_CLOSE:
            return queryset.filter(pk__in=customers_to_close().values("pk"))
        return queryset.filter(state=self.value()) if self.value() else queryset


class TaxDataFilter(admin.SimpleListFilter):
    """Customers with a subscription of whom nobody has said where they are for tax."""

    title = "tax data"
    parameter_name = "tax"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the one choice."""
        return [("missing", "Missing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those whose place is not known."""
        return queryset.filter(pk__in=without_tax_data(at=now())) if self.value() == "missing" else queryset


@admin.register(Customer)
class CustomerAdmin(LifeCyclePages):
    """Who owes."""

    form = CustomerForm
    list_display = ("key", "name", "state", "settlement_channel", "open_amount", "last_invoice")
    list_display_links = ("key", "name")
    list_filter = (StateFilter, "settlement_channel", "currency", "legal_entity", OwesFilter, TaxDataFilter)
    search_fields = ("key", "name", "email", "stripe_customer__stripe_id")
    autocomplete_fields = ("billed_to",)
    ordering = ("name", "id")
    fieldsets = (
        ("Who", {"fields": ("key", "name", "email", "address", "tax_id", "language")}),
        (
            "Terms",
            {
                "fields": (
                    "billed_to",
                    "legal_entity",
                    "currency",
                    "timezone",
                    "settlement_channel",
                    "net_terms_days",
                    "payment_method",
                )
            },
        ),
        ("Late usage", {"fields": ("grace_hours", "late_usage_policy", "late_materiality")}),
        ("Why", {"fields": ("reason",)}),
    )
    add_title = "Add a customer"
    add_words = (
        "Nothing is charged before a subscription puts a plan in force. Key, currency and zone stay as they are."
    )
    empty_message = "Customers are created here, over the API, or by a load; usage events name them by their key."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add what each owes in its own currency, and its newest invoice."""
        mine = Invoice.objects.filter(customer=OuterRef("pk"))
        owed = (
            mine.filter(status=InvoiceStatus.ISSUED, currency=OuterRef("currency"))
            .order_by()
            .values("customer")
            .annotate(sum=Sum(AMOUNT_DUE, output_field=Invoice._meta.get_field("total")))
        )
        newest = mine.exclude(status=InvoiceStatus.DRAFT).order_by("-issued_at", "-id")
        queryset: QuerySet[Any] = with_state(super().get_queryset(request)).select_related("legal_entity", "billed_to")
        return queryset.annotate(
            open_balance=Subquery(owed.values("sum")),
            last_number=Subquery(newest.values("number")[:1]),
            last_invoice_id=Subquery(newest.values("pk")[:1]),
        )

    @admin.display(description="State", ordering="state")
    def state(self, customer: Any) -> SafeString:
        """Show the recorded state; the page of the customer counts moves that the sweep has still to record."""
        return pill(state_words(State(customer.state)))

    def get_urls(self) -> list[Any]:
        """Add the page that moves a customer, and the one that compares plans."""
        move = path(
            "<path:object_id>/move/<str:to>/", self.admin_site.admin_view(self.move), name="invoicing_customer_move"
        )
        saving = path(
            "<path:object_id>/saving/", self.admin_site.admin_view(self.saving), name="invoicing_customer_saving"
        )
        return [move, saving, *super().get_urls()]

    def saving(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show what the customer's last invoices would have come to on other plans."""
        customer = self.row_or_404(request, object_id)
        context = self.page_context(
            request,
            title=f"{customer.name}: would another plan have cost less?",
            row=customer,
            saving=find_saving(customer=customer, at=now()),
        )
        return TemplateResponse(request, "backoffice/customer_saving.html", context)

    @admin.display(description="Open balance", ordering="open_balance")
    def open_amount(self, customer: Any) -> SafeString:
        """Show what is owed, as a link to the unpaid invoices."""
        if not customer.open_balance:
            return NOTHING
        amount = getattr(customer.open_balance, "amount", customer.open_balance)
        unpaid = reverse("admin:invoicing_invoice_changelist") + f"?customer__id__exact={customer.pk}&state=issued"
        return link(unpaid, balance(Money(amount, customer.currency)))

    @admin.display(description="Last invoice", ordering="last_number")
    def last_invoice(self, customer: Any) -> SafeString:
        """Show the newest issued invoice as a link."""
        if customer.last_number is None:
            return NOTHING
        return link(reverse("admin:invoicing_invoice_change", args=[customer.last_invoice_id]), customer.last_number)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Keep what billed periods hang on, and the seller as soon as there is an invoice or credit."""
        if obj is None:
            return ()
        return (*FIXED, "legal_entity") if obj.invoices.exists() or obj.credit_grants.exists() else FIXED

    def get_form(self, request: HttpRequest, obj: Model | None = None, change: bool = False, **options: Any) -> Any:
        """Offer the currencies that we bill in."""
        form = super().get_form(request, obj, change=change, **options)
        if "currency" in form.base_fields:
            form.base_fields["currency"] = forms.ChoiceField(
                choices=[(code, code) for code in settings.CURRENCIES],
                initial=settings.DEFAULT_CURRENCY,
                widget=UnfoldAdminSelectWidget(),
                help_text="It stays: prices and invoices hang on it.",
            )
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Create or change through the operation, with actor and reason."""
        cleaned = form.cleaned_data
        fields = with_keys({name: cleaned[name] for name in (*FIXED, *CHANGEABLE) if name in cleaned})
        reason, actor = form.cleaned_data["reason"], actor_of(request)
        if change:
            changes = {name: value for name, value in fields.items() if name in CHANGEABLE}
            change_customer(customer=obj, changes=changes, actor=actor, reason=reason)
        else:
            obj.pk = create_customer(**fields, actor=actor, reason=reason).pk

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the customer; the form opens with ?edit=1."""
        if "edit" in request.GET or request.method == "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        customer = self.row_or_404(request, object_id)
        at = now()
        context = self.page_context(
            request,
            title=customer.name,
            row=customer,
            page=customer_page(customer=customer, at=at),
            life=life_cycle_card(customer=customer, at=at, may_move=request.user.has_perm(MOVE)),
            may_change=self.has_change_permission(request, customer),
            portal_link=link_for(customer_key=customer.key),
        )
        return TemplateResponse(request, "backoffice/customer.html", context)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the customer's page, where the change stands."""
        return go(reverse("admin:invoicing_customer_change", args=[obj.pk]))

    response_post_save_add = response_post_save_change
