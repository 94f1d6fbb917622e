"""Credit grants in the admin: given with a reason, looked at with all their entries, taken back; never edited."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.admin import TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    OperationForm,
    StaffAdmin,
    confirm_with_reason,
    moment_column,
)
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import figure, link, money_text
from billing_site.kernel.clock import now
from invoicing.admin.keys_field import KeysField, offer_what_exists
from invoicing.core.adjustments.credits import CreditKind
from invoicing.credits.models import CreditEntry, CreditGrant
from invoicing.credits.operations import GrantTerms, grant_credit, void_credit
from invoicing.credits.queries import last_entry, left_of, with_balance
from invoicing.customers.models import Customer

FIXED = ("kind", "name", "amount_text", "left", "priority", "effective_at", "expires_at", "plans", "meters")


class GrantForm(OperationForm):
    """What is granted, and why; what is accepted is what the operation accepts."""

    worth = AmountField(
        label="Amount",
        help_text="In the customer's currency. Prepaid: what was paid into the bank; it is owed to the customer until it is drawn.",
    )
    plans = KeysField(noun="plan", label="Pays for these plans", help_text="None: for all.")
    meters = KeysField(noun="meter", label="Pays for these meters", help_text="None: for everything, fees too.")
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))

    renamed: ClassVar = {"amount": "worth"}

    class Meta:
        model = CreditGrant
        fields = ("key", "customer", "kind", "name", "priority", "effective_at", "expires_at")
        labels = {"effective_at": "Takes effect at (UTC)", "expires_at": "Expires at (UTC)"}
        help_texts = {
            "key": "Your name for it; the same key a second time grants nothing more.",
            "expires_at": "It pays for billing periods that end then or before. Empty: it does not expire.",
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        """Offer what it can pay for."""
        super().__init__(*args, **options)
        offer_what_exists(self)

    def operate(self, *, actor: str) -> CreditGrant:
        """Grant it."""
        fields = self.cleaned_data
        customer: Customer = fields["customer"]
        names = ("key", "kind", "name", "priority", "effective_at", "expires_at", "plans", "meters")
        terms = GrantTerms(amount=Money(fields["worth"], customer.currency), **{name: fields[name] for name in names})
        return grant_credit(customer=customer, terms=terms, at=now(), actor=actor, reason=fields["why"])


class EntryInline(TabularInline):
    """What became of it."""

    model = CreditEntry
    fields = ("sequence", "kind", "changed", "after", "reference", "occurred_at", "actor", "reason")
    readonly_fields = fields
    ordering = ("sequence",)
    extra = 0
    can_delete = False
    hide_title = True
    verbose_name_plural = "What became of it"

    @admin.display(description="Added or taken")
    def changed(self, entry: CreditEntry) -> SafeString:
        """Show the amount."""
        return figure(amount=entry.amount.amount, currency=entry.currency)

    @admin.display(description="Left")
    def after(self, entry: CreditEntry) -> SafeString:
        """Show what is left after it."""
        return figure(amount=entry.balance.amount, currency=entry.currency)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Entries come from operations."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Entries stay."""
        return False


@admin.register(CreditGrant)
class CreditGrantAdmin(StaffAdmin):
    """Value given, or paid for before it is used."""

    form = GrantForm
    inlines = (EntryInline,)
    list_display = (
        "key",
        "customer_link",
        "kind",
        "amount_text",
        "left",
        moment_column("effective_at", "Takes effect"),
        moment_column("expires_at", "Expires"),
    )
    list_filter = ("kind", "currency")
    list_select_related = ("customer",)
    search_fields = ("key", "name", "customer__key", "customer__name")
    autocomplete_fields = ("customer",)
    ordering = ("-id",)
    actions_detail = ("take_back",)
    add_title = "Grant credit"
    add_words = "Credit pays for the customer's next invoices until it is used up or expires. What is granted stays: promotional credit can be taken back, prepaid credit cannot."
    empty_message = "A credit grant pays for invoices until it is used up or expires; give one here or over the API."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add what is left."""
        return with_balance(super().get_queryset(request))

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, grant: CreditGrant) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[grant.customer_id]), grant.customer)

    @admin.display(description="Granted", ordering="amount")
    def amount_text(self, grant: CreditGrant) -> SafeString:
        """Show what was granted."""
        return figure(amount=grant.amount.amount, currency=grant.currency)

    @admin.display(description="Left")
    def left(self, grant: CreditGrant) -> SafeString:
        """Show what is left."""
        return figure(amount=left_of(grant=grant).amount, currency=grant.currency)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask for everything while it is granted, show it afterwards."""
        if obj is None:
            return (*self.form.Meta.fields[:4], "worth", *self.form.Meta.fields[4:], "plans", "meters", "why")
        return ("key", "customer_link", *FIXED, "granted_at", "actor", "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what became of it."""
        return () if obj is None else ("customer_link", "amount_text", "left")

    def get_inlines(self, request: HttpRequest, obj: Model | None) -> Any:
        """Show entries of what is there."""
        return () if obj is None else self.inlines

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Propose a key for the customer that it is granted to, and that it takes effect now."""
        initial: dict[str, Any] = {
            "effective_at": now().replace(second=0, microsecond=0),
            **super().get_changeform_initial_data(request),
        }
        customer = Customer.objects.filter(pk=initial.get("customer") or 0).first()
        if customer is not None and "key" not in initial:
            initial["key"] = f"{customer.key}-credit-{customer.credit_grants.count() + 1}"
        return initial

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """What is granted stays."""
        return False

    @action(description="Take back what is left", url_path="take-back")
    def take_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why, then take back what is left of promotional credit."""
        grant = self.row_or_404(request, object_id)
        left = money_text(last_entry(grant=grant).balance)
        return confirm_with_reason(
            request,
            admin=self,
            row=grant,
            permission="invoicing.change_creditgrant",
            deed=lambda **who: void_credit(key=grant.key, at=now(), **who),
            done=lambda _: f"Nothing is left of {grant}.",
            title=f"Take back {grant}",
            effect=f"{left} of {grant.customer}'s {grant.kind} credit are taken back. What it has paid for stays paid.",
            submit=f"Take back {left}",
            warnings=["Prepaid credit was paid for and cannot be taken back."]
            if grant.kind == CreditKind.PREPAID
            else [],
            dangerous=True,
        )
