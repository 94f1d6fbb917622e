"""Invoice something once, in the admin: stated, shown as it would be, issued with a reason, declared void; and prepaid credit sold."""

from typing import Any
from uuid import uuid4

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    add_field_errors,
    attempt,
    confirm_with_reason,
    confirmation,
    go,
)
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import money_text
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.model import EXACT_DIGITS, EXACT_PLACES
from invoicing.admin.approvals import waits_words
from invoicing.admin.invoice_page import ISSUE
from invoicing.admin.write_offs import two_decide
from invoicing.approvals.models import ApprovedDeed
from invoicing.core.one_off import OneOffInvoice
from invoicing.core.tax import tax_summary
from invoicing.core.tax_document import sum_text
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.one_off import DESCRIPTION_MAX, UNIT_MAX, NewItem, assembled_once
from invoicing.top_ups.models import VALID_DAYS_MAX
from invoicing.top_ups.operations import NAME_DEFAULT, NAME_MAX, TopUpTerms
from invoicing.workflows.ask_to_void import void_or_ask
from invoicing.workflows.invoice_once import invoice_once
from invoicing.workflows.sell_credit import sell_credit

LINES_SHOWN = 5


class ItemForm(forms.Form):
    """What is invoiced once; a row that is left empty is none."""

    description = forms.CharField(max_length=DESCRIPTION_MAX, widget=UnfoldAdminTextInputWidget())
    quantity = forms.DecimalField(
        max_digits=EXACT_DIGITS,
        decimal_places=EXACT_PLACES,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"placeholder": "1"}),
    )
    unit = forms.CharField(
        max_length=UNIT_MAX, required=False, widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "hour"})
    )
    unit_amount = forms.DecimalField(
        label="Each",
        max_digits=EXACT_DIGITS,
        decimal_places=EXACT_PLACES,
        widget=UnfoldAdminDecimalFieldWidget(),
    )


ItemForms = forms.formset_factory(ItemForm, extra=LINES_SHOWN, max_num=LINES_SHOWN, absolute_max=LINES_SHOWN)


class KeyedForm(ReasonForm):
    """Why, and the key by which sending it twice has one effect."""

    key = forms.CharField(max_length=100, widget=forms.HiddenInput())


class CreditForm(KeyedForm):
    """How much credit is sold, and for how long."""

    amount = AmountField()
    name = forms.CharField(
        max_length=NAME_MAX,
        initial=NAME_DEFAULT,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What stands on this invoice, and on those that it pays for.",
    )
    valid_days = forms.IntegerField(
        label="Lasts for days",
        required=False,
        min_value=1,
        max_value=VALID_DAYS_MAX,
        widget=UnfoldAdminTextInputWidget(attrs={"type": "number"}),
        help_text="From its payment on; empty: until it is used up.",
    )
    field_order = ("amount", "name", "valid_days", "reason", "key")


class OneOffPages(ReadOnlyAdmin):
    """The pages of invoices that somebody states."""

    def get_urls(self) -> list[Any]:
        """Add the pages that make invoices; both are asked for a customer."""
        views = {"once": self.once, "sell-credit": self.sell}
        pages = [
            path(
                f"{address}/",
                self.admin_site.admin_view(view),
                name=f"invoicing_invoice_{address.replace('-', '_')}",
            )
            for address, view in views.items()
        ]
        return [*pages, *super().get_urls()]

    def once(self, request: HttpRequest) -> HttpResponse:
        """Ask what is invoiced, show the invoice as it would be, and issue exactly that."""
        customer = _customer(request)
        asked = request.POST if request.method == "POST" else None
        form = KeyedForm(asked, initial={"key": _new_key("once")})
        items = ItemForms(asked, prefix="lines")
        shown = _assembled(customer, items) if asked is not None and form.is_valid() and items.is_valid() else None
        if shown is not None and request.POST.get("digest") == shown.digest:
            made = attempt(
                request,
                lambda: invoice_once(
                    customer=customer,
                    key=form.cleaned_data["key"],
                    items=_items(customer, items),
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda invoice: f"Issued as {invoice.number} over {money_text(invoice.total)}.",
            )
            if made is not None:
                return go(reverse("admin:invoicing_invoice_change", args=[made.pk]))
        context = self.page_context(
            request,
            title=f"Invoice {customer.name} once",
            customer=customer,
            form=form,
            items=items,
            shown=shown,
            taxes=[] if shown is None else _taxes(shown),
            total="" if shown is None else money_text(shown.total),
            more=asked is not None and any(row.has_changed() for row in items.forms[1:]),
            by_stripe=customer.settlement_channel == SettlementChannel.STRIPE,
            back=_page_of(customer),
        )
        return TemplateResponse(request, "backoffice/invoice_once.html", context)

    def sell(self, request: HttpRequest) -> HttpResponse:
        """Ask how much credit is sold, and issue the invoice over it."""
        customer = _customer(request)
        form = CreditForm(request.POST or None, initial={"key": _new_key("credit")})
        form.fields["amount"].label = f"Amount in {customer.currency}"
        if request.method == "POST" and form.is_valid():
            fields = form.cleaned_data
            terms = TopUpTerms(
                amount=Money(fields["amount"], customer.currency), name=fields["name"], valid_days=fields["valid_days"]
            )
            try:
                with transaction.atomic():
                    top_up = sell_credit(
                        customer=customer,
                        key=fields["key"],
                        terms=terms,
                        at=now(),
                        actor=actor_of(request),
                        reason=fields["reason"],
                    )
            except BillingError as problem:
                add_field_errors(form, problem)
            else:
                return go(reverse("admin:invoicing_invoice_change", args=[top_up.invoice_id]))
        return confirmation(
            request,
            admin=self,
            title=f"Sell prepaid credit to {customer.name}",
            effect="An invoice over the amount is issued at once. The credit is granted when that invoice is paid in full;"
            " until it is drawn, the books owe it to the customer.",
            form=form,
            submit="Issue the invoice",
            back=_page_of(customer),
        )

    @action(description="Declare void", url_path="void")
    def void(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Declare an unpaid one-off invoice void."""
        invoice = self.row_or_404(request, object_id)
        sells = " The credit that it would have sold never comes." if hasattr(invoice, "top_up") else ""
        return confirm_with_reason(
            request,
            admin=self,
            row=invoice,
            permission=ISSUE,
            deed=lambda **who: void_or_ask(invoice_id=invoice.pk, at=now(), **who),
            done=lambda done: waits_words(done) or f"{done.number} is void: nothing of it is owed.",
            title=f"Declare {invoice} void",
            effect=f"{money_text(invoice.total)} are owed no more, and its journal entry is reversed. It keeps its number.{sells}{two_decide(invoice, ApprovedDeed.VOID, invoice.total)}",
            submit=f"Declare {invoice.number} void",
            dangerous=True,
        )


def _customer(request: HttpRequest) -> Customer:
    """Return the customer that the address names, for whoever may issue."""
    if not request.user.has_perm(ISSUE):
        raise PermissionDenied
    number = request.GET.get("customer", "")
    found = Customer.objects.filter(pk=int(number)).first() if number.isdecimal() and len(number) < 19 else None
    if found is None:
        raise Http404("there is no such customer")
    return found


def _page_of(customer: Customer) -> str:
    return reverse("admin:invoicing_customer_change", args=[customer.pk])


def _new_key(what: str) -> str:
    return f"{what}-{uuid4().hex}"


def _items(customer: Customer, items: Any) -> list[NewItem]:
    filled = [form.cleaned_data for form in items if form.cleaned_data.get("description")]
    return [
        NewItem(
            description=fields["description"],
            quantity=fields["quantity"],
            unit_amount=Money(fields["unit_amount"], customer.currency),
            unit=fields["unit"],
        )
        for fields in filled
    ]


def _assembled(customer: Customer, items: Any) -> OneOffInvoice | None:
    """Return the invoice as it would be; what cannot be accepted is told at its field."""
    filled = [form for form in items if form.cleaned_data.get("description")]
    try:
        assembled = assembled_once(customer=customer, items=_items(customer, items), at=now())
    except BillingError as problem:
        for error in problem.field_errors:
            place, _, field = error.field.removeprefix("lines[").partition("].")
            form = filled[int(place)] if place.isdecimal() else items.forms[0]
            form.add_error(field if field in form.fields else None, error.message)
        return None
    if assembled.tax is not None and assembled.tax.missing:
        items.forms[0].add_error(None, f"It cannot be taxed, it is not known: {'; '.join(assembled.tax.missing)}.")
        return None
    return assembled


def _taxes(shown: OneOffInvoice) -> list[tuple[str, Money]]:
    """Return what the tax of each rate is called, and what it comes to."""
    lines = () if shown.tax is None else shown.tax.lines
    return [
        (
            sum_text(
                kind=one.kind,
                name=one.name,
                rate=one.rate,
                jurisdiction=one.jurisdiction,
                inclusive=one.inclusive,
            ),
            one.amount,
        )
        for one in tax_summary(lines=lines, currency=shown.currency)
    ]
