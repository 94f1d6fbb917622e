"""Changes of drafts by hand, in the admin: made on the page of the draft, taken back there, and the list of all."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import (
    ConfirmedTable,
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    attempt_asked,
    confirm_with_reason,
    confirmation,
    go,
)
from billing_site.display.amount_field import AmountField
from billing_site.display.figures import NOTHING, link, moment, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from invoicing.admin.invoice_page import EDIT
from invoicing.core.gate import CHECKS, Check
from invoicing.draft_edits.models import LineEdit
from invoicing.gate.queries import rules_in_force
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus
from invoicing.workflows.edit_draft import (
    DESCRIPTION_MAX,
    ChangeableLine,
    can_be_taken_back,
    changeable_lines,
    draft_of,
    edit_draft,
    take_edit_back,
)

OWN_LINE = "A line of its own"


class EditForm(ReasonForm):
    """Which line comes to what, in which words, and why."""

    line = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget())
    amount = AmountField(
        help_text="What the line comes to in the end; of a line of its own, what it adds, or, with a minus, takes off."
    )
    description = forms.CharField(
        max_length=DESCRIPTION_MAX,
        widget=UnfoldAdminTextInputWidget(),
        help_text="What the customer reads on the invoice.",
    )
    field_order = ("line", "amount", "description", "reason")

    def __init__(self, *args: Any, lines: list[ChangeableLine], currency: str, **options: Any) -> None:
        super().__init__(*args, **options)
        choices = [(one.reference, f"{one.description}: {money_text(one.amount)}") for one in lines]
        line, amount = self.fields["line"], self.fields["amount"]
        assert isinstance(line, forms.ChoiceField) and isinstance(amount, AmountField), "as they are declared"
        line.choices, line.initial = [*choices, ("", OWN_LINE)], choices[0][0] if choices else ""
        amount.currency = currency


class EditPages(ReadOnlyAdmin):
    """Changing a draft by hand."""

    @action(description="Change by hand", url_path="edit")
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change what a line of a draft comes to, or add one."""
        invoice: Invoice = self.row_or_404(request, object_id)
        if not request.user.has_perm(EDIT):
            raise PermissionDenied
        page = reverse("admin:invoicing_invoice_change", args=[invoice.pk])
        if not can_be_edited(invoice):
            messages.warning(request, "Only the draft of a period is changed by hand: what is issued is credited.")
            return go(page)
        lines = changeable_lines(invoice=invoice)
        form = EditForm(request.POST or None, lines=lines, currency=invoice.currency)
        if (
            request.method == "POST"
            and form.is_valid()
            and attempt_asked(
                request,
                form,
                lambda: edit_draft(
                    invoice_id=invoice.pk,
                    line=form.cleaned_data["line"],
                    description=form.cleaned_data["description"],
                    amount=form.cleaned_data["amount"],
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda edit: _done(invoice, before=invoice.total),
            )
        ):
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Change the draft for {invoice.customer_name} by hand",
            effect=f"The line stays as it was rated, and the change stands below it, in your words. {_who_looks()}",
            form=form,
            submit="Change the draft",
            back=page,
            row=invoice,
            table=ConfirmedTable(
                titles=("Line", "Comes to"),
                rows=[
                    *((one.description, money_text(one.amount)) for one in lines),
                    ("Total of the draft", money_text(invoice.total)),
                ],
            ),
        )


def can_be_edited(invoice: Invoice) -> bool:
    """Say whether an invoice is the draft of a period."""
    return invoice.status == InvoiceStatus.DRAFT and invoice.kind == InvoiceKind.PERIOD


def _again(edit: LineEdit) -> str:
    return " The draft is computed again." if draft_of(edit=edit) else " The draft is gone: the next one is without it."


def _who_looks() -> str:
    rule = rules_in_force()[Check.EDITED]
    if not rule.is_on:
        return f"The check {CHECKS[Check.EDITED].title} is off: nobody else looks at it before it is issued."
    return (
        "Before it is issued it is released, which takes two people."
        if rule.takes_two
        else "It is released before it is issued."
    )


def _done(invoice: Invoice, *, before: Money) -> str:
    invoice.refresh_from_db()
    return f"The draft is changed: its total was {money_text(before)}, and is {money_text(invoice.total)}."


@admin.register(LineEdit)
class LineEditAdmin(ReadOnlyAdmin):
    """What people changed on drafts."""

    list_display = ("words", "customer_link", "what", "decided_amount", "reason", "made", "state")
    list_filter = ("currency", ("made_at", admin.DateFieldListFilter))
    search_fields = ("description", "reason", "actor", "customer__key", "customer__name")
    list_select_related = ("customer",)
    ordering = ("-made_at", "-id")
    actions_detail = ("take_back",)
    empty_message = (
        "On the page of a draft a line is changed, or one is added, by hand: each change stands here, with who and why."
    )
    fields = (
        "words",
        "customer_link",
        "period_start",
        "period_end",
        "what",
        "decided_amount",
        "made_at",
        "actor",
        "reason",
        "ended_at",
        "ended_by",
        "ended_because",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Show it all."""
        return self.fields

    @admin.display(description="On the invoice", ordering="description")
    def words(self, edit: LineEdit) -> str:
        """Show what the customer reads."""
        return edit.description

    @admin.display(description="Customer", ordering="customer__name")
    def customer_link(self, edit: LineEdit) -> SafeString:
        """Link to the customer."""
        return link(reverse("admin:invoicing_customer_change", args=[edit.customer_id]), edit.customer.name)

    @admin.display(description="Line", ordering="line_name")
    def what(self, edit: LineEdit) -> str:
        """Name the line that is changed."""
        return edit.line_name or OWN_LINE

    @admin.display(description="Comes to", ordering="amount")
    def decided_amount(self, edit: LineEdit) -> SafeString:
        """Show what was decided."""
        return money(edit.amount)

    @admin.display(description="Changed", ordering="made_at")
    def made(self, edit: LineEdit) -> SafeString:
        """Show when, and below it who."""
        words = '<span class="bo-line">{}</span><span class="bo-line bo-small bo-faint">{}</span>'
        return format_html(words, moment(edit.made_at), edit.actor)

    @admin.display(description="State")
    def state(self, edit: LineEdit) -> SafeString:
        """Show what was taken back as a pill."""
        return NOTHING if edit.ended_at is None else pill("taken back")

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer to take it back while its invoice is not issued."""
        edit = LineEdit.objects.filter(pk=object_id).first()
        return super().get_actions_detail(request, object_id) if edit and can_be_taken_back(edit=edit) else []

    @action(description="Take back", url_path="take-back")
    def take_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take a change back, with a reason."""
        edit: LineEdit = self.row_or_404(request, object_id)
        return confirm_with_reason(
            request,
            admin=self,
            row=edit,
            permission=EDIT,
            deed=lambda **who: take_edit_back(edit_id=edit.pk, at=now(), **who),
            done=lambda done: f"Taken back: {done.description}.{_again(done)}",
            title=f"Take back: {edit.description}",
            effect=f"The invoice for {edit.customer.name} is without it then. What was decided stays on record.",
            submit="Take it back",
        )
