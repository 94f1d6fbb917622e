"""What paying late costs, in the admin: the terms, what was charged or waived, and the two deeds on a case."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money
from moneyed.classes import CurrencyDoesNotExist
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    ConfirmedTable,
    OperationForm,
    ReadOnlyAdmin,
    StaffAdmin,
    actor_of,
    attempt,
    confirmation,
    go,
    moment_column,
)
from billing_site.display.figures import link, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.money import is_rounded, plain, total
from billing_site.kernel.words import counted
from dunning.admin.forms import ShownForm
from dunning.admin.holds import ARRANGE, HoldPages
from dunning.core.late_payment_presets import BY_KEY, PRESETS
from dunning.overdue.effect import Effect, effect_of
from dunning.overdue.models import OverdueCharge, OverdueTerms
from dunning.overdue.operations import charge_late_payment, set_terms, waive_late_payment
from dunning.overdue.queries import accrued_digest, accrued_of, accrued_total

CHARGE = "invoicing.issue_invoice"
# What the confirmation of terms has shown.
SHOWN = "shown"


class TermsForm(OperationForm):
    """What paying late costs, and why."""

    lump = forms.DecimalField(initial=0, label="Lump sum", min_value=0, widget=UnfoldAdminDecimalFieldWidget())
    fee = forms.DecimalField(initial=0, label="Reminder fee", min_value=0, widget=UnfoldAdminDecimalFieldWidget())
    why = forms.CharField(max_length=300, label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}))
    renamed: ClassVar = {"reason": "why", "lump_sum": "lump", "reminder_fee": "fee"}

    class Meta:
        model = OverdueTerms
        fields = (
            *("policy", "country", "audience", "valid_from", "base_rate", "points", "currency", "lump", "fee"),
            *("free_reminders", "why"),
        )
        exclude = ("lump_sum", "reminder_fee")

    def terms(self) -> OverdueTerms:
        """Return what is asked for."""
        given = {name: self.cleaned_data[name] for name in ("policy", "audience", "valid_from", "base_rate", "points")}
        currency = self.cleaned_data["currency"].upper()
        return OverdueTerms(
            **given,
            country=self.cleaned_data["country"].upper(),
            currency=currency,
            lump_sum=Money(self.cleaned_data["lump"], currency),
            reminder_fee=Money(self.cleaned_data["fee"], currency),
            free_reminders=self.cleaned_data["free_reminders"],
        )

    def operate(self, *, actor: str) -> OverdueTerms:
        """Keep them."""
        return set_terms(terms=self.terms(), at=now(), actor=actor, reason=self.cleaned_data["why"])

    def clean_currency(self) -> str:
        """Know it."""
        code = str(self.cleaned_data["currency"]).upper()
        try:
            is_rounded(Money(Decimal(0), code))
        except CurrencyDoesNotExist as problem:
            raise forms.ValidationError("is no currency") from problem
        return code


@admin.register(OverdueTerms)
class OverdueTermsAdmin(StaffAdmin):
    """What paying late costs from a day on."""

    form = TermsForm
    list_display = ("__str__", "rate", "lump_words", "fee_words", "valid_from")
    list_filter = ("country", "audience")
    ordering = ("-valid_from", "-id")
    change_form_before_template = "backoffice/overdue_presets.html"
    empty_message = (
        "Nothing is charged for paying late until terms say what it costs: a base rate with points, a lump sum, a fee."
    )

    @admin.display(description="Percent a year")
    def rate(self, terms: OverdueTerms) -> str:
        """Write what it is made of."""
        return f"{plain(terms.base_rate)} + {plain(terms.points)}"

    @admin.display(description="Lump sum")
    def lump_words(self, terms: OverdueTerms) -> SafeString:
        """Write the amount."""
        return money(terms.lump_sum)

    @admin.display(description="Reminder fee")
    def fee_words(self, terms: OverdueTerms) -> SafeString:
        """Write the amount."""
        return money(terms.reminder_fee)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Offer what laws say beside the form."""
        offered = {"presets": PRESETS, "preset": BY_KEY.get(request.GET.get("preset", ""))}
        return super().add_view(request, form_url, {**offered, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Fill in what a law says, and leave out the base rate, which somebody looks up."""
        preset = BY_KEY.get(request.GET.get("preset", ""))
        if preset is None:
            return dict(super().get_changeform_initial_data(request))
        law = {"country": preset.country, "audience": preset.audience, "points": preset.points}
        amounts = {"currency": preset.currency, "lump": preset.lump_sum}
        return {**law, **amounts, "why": f"As {preset.source} has it, with the base rate of "}

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say what they put on customers by today before they are set: by as much as was shown, or it is shown again."""
        if object_id is None and request.method == "POST" and self.has_add_permission(request):
            form = self.get_form(request)(request.POST)
            if form.is_valid():
                effect = effect_of(terms=form.terms(), at=now())
                if request.POST.get(SHOWN) != effect.digest:
                    return self._effect(request, form.terms(), effect)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _effect(self, request: HttpRequest, terms: OverdueTerms, effect: Effect) -> HttpResponse:
        typed = [
            (name, str(value)) for name, value in request.POST.items() if name not in ("csrfmiddlewaretoken", SHOWN)
        ]
        invoices = f"{effect.invoices} {counted('invoice', effect.invoices)}"
        customers = f"{effect.customers} {counted('customer', effect.customers)}"
        words = (
            f"By today this costs {customers} on {invoices} more than without them; somebody charges it, or waives it, case by case."
            if effect.amounts
            else "By today this costs no customer anything more than without them."
        )
        more = f"{effect.unread} more customers with late invoices were not looked at." if effect.unread else ""
        rows = [(kind.label, money_text(amount)) for kind, amount in effect.amounts]
        return confirmation(
            request,
            admin=self,
            title=f"Set terms of late payment for {terms}",
            effect=f"{words} They stay: they end on the day from which others hold for the same customers.",
            form=forms.Form(),
            submit="Set these terms",
            back=reverse("admin:dunning_overdueterms_add"),
            hidden=[*typed, (SHOWN, effect.digest)],
            table=ConfirmedTable(titles=("By today", "Amount"), rows=rows, more=more) if rows or more else None,
        )

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Ask while they are set, show everything afterwards."""
        if obj is None:
            return TermsForm.Meta.fields
        shown = ("policy", "country", "audience", "valid_from", "rate", "lump_words", "fee_words", "free_reminders")
        return (*shown, "actor", "reason")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        """Show what is computed."""
        return () if obj is None else ("rate", "lump_words", "fee_words")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Terms stay: others are the next ones."""
        return False


@admin.register(OverdueCharge)
class OverdueChargeAdmin(ReadOnlyAdmin):
    """What was charged or waived."""

    list_display = ("__str__", "customer", "amount_words", "state", moment_column("charged_at", "When"), "actor")
    list_filter = ("kind",)
    list_select_related = ("customer", "about", "invoice")
    search_fields = ("customer__key", "customer__name", "about__number", "invoice__number")
    ordering = ("-id",)
    fields = ("customer", "kind", "about", "amount_words", "state", "proof", "charged_at", "actor", "reason")
    readonly_fields = ("amount_words", "state")
    empty_message = "What is charged for paying late, or waived, stands here with its principal, days and rate."

    @admin.display(description="Amount")
    def amount_words(self, charge: OverdueCharge) -> SafeString:
        """Write the amount."""
        return money(charge.amount)

    @admin.display(description="Charged by")
    def state(self, charge: OverdueCharge) -> SafeString:
        """Link the invoice, or say that it was waived."""
        if charge.invoice is None:
            return pill("waived")
        return link(reverse("admin:invoicing_invoice_change", args=[charge.invoice.pk]), charge.invoice)


class LatePaymentPages(HoldPages):
    """The pages of a case by which what paying late has cost is charged, or waived."""

    def get_urls(self) -> list[Any]:
        """Add them."""
        view = self.admin_site.admin_view
        return [
            path("<int:object_id>/charge/", view(self.charge), name="dunning_dunningcase_charge"),
            path("<int:object_id>/waive/", view(self.waive), name="dunning_dunningcase_waive"),
            *super().get_urls(),
        ]

    def charge(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Charge it by an invoice of its own."""
        if not request.user.has_perm(CHARGE):
            raise PermissionDenied
        return self._late_payment(
            request,
            object_id,
            deed=charge_late_payment,
            done=lambda invoice: format_html(
                "{} of interest and fees are charged by {}.",
                money_text(invoice.total),
                link(reverse("admin:invoicing_invoice_change", args=[invoice.pk]), invoice),
            ),
            title="Charge interest and fees",
            effect="An invoice of its own is issued over them now, without tax. Each day is charged once; a credit note takes it back.",
        )

    def waive(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Charge nothing of it."""
        return self._late_payment(
            request,
            object_id,
            deed=waive_late_payment,
            done=lambda rows: (
                f"{money_text(total((one.amount for one in rows), rows[0].currency))} of interest and fees are waived."
            ),
            title="Waive interest and fees",
            effect="They are never charged. What the days from today on cost is not waived with them.",
        )

    def _late_payment(
        self, request: HttpRequest, object_id: int, *, deed: Any, done: Callable[[Any], str], title: str, effect: str
    ) -> HttpResponse:
        if not request.user.has_perm(ARRANGE):
            raise PermissionDenied
        case, at = self.row_or_404(request, str(object_id)), now()
        form, page = ShownForm(request.POST or None), reverse("admin:dunning_dunningcase_change", args=[object_id])
        if request.method == "POST" and form.is_valid():
            said = {name: form.cleaned_data[name] for name in ("reason", "digest")}
            attempt(
                request,
                lambda: deed(customer_id=case.customer_id, at=at, actor=actor_of(request), **said),
                done=done,
            )
            return go(page)
        accrued = accrued_of(customer=case.customer, at=at)
        form.fields["digest"].initial = accrued_digest(accrued=accrued)
        rows = [(one.words, _proof_words(one.proof), money_text(one.amount)) for one in accrued]
        whole = money_text(accrued_total(accrued=accrued, currency=case.customer.currency))
        table = ConfirmedTable(titles=("What", "Why", "Amount"), rows=[*rows, ("All", "", whole)])
        return confirmation(
            request, admin=self, title=title, effect=effect, form=form, submit=title, back=page, row=case, table=table
        )


def _proof_words(proof: list[dict[str, Any]]) -> str:
    """Write the principal, days and rate of interest, or the terms of a fixed amount."""
    return "; ".join(
        f"{one['principal']} for {one['days']} days at {one['percent']} %" if "principal" in one else one["terms"]
        for one in proof
    )
