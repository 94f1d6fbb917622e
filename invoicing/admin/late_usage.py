"""The late-event desk: what changed about issued lines, what it means in money, and what people decide about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.admin import ReadOnlyAdmin, ReasonForm, actor_of, moment_column
from billing_site.display.figures import link, money, money_text, quantity
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total
from invoicing.admin.late_events import late_events_page
from invoicing.customers.models import Customer
from invoicing.invoices.corrections import rest_of, with_taken
from invoicing.invoices.models import CorrectionDecision, InvoiceLine, UsageCorrection
from invoicing.workflows.late_changes import LateChange, LateChanges, counted_late_changes
from invoicing.workflows.settle_late_usage import decide_late_change
from metering.rollup import roll_up

DECIDE = "invoicing.decide_late_usage"
# Counting the usage of a line again takes about 10 ms; a page shows what can be read in one go.
LINES_MAX = 200
CHOICES = (("", "Leave it"), *CorrectionDecision.choices)


@dataclass
class CustomerAtDesk:
    """The late changes of one customer, with their effect, and what the customer's terms would do."""

    customer: Customer
    changes: list[LateChange] = field(default_factory=list)

    @property
    def effect(self) -> Money:
        """The money effect of all of them."""
        return total((change.effect for change in self.changes), self.customer.currency)


@dataclass(frozen=True)
class WaitingCorrection:
    """A correction that the next invoice will take, and how much of it is left."""

    correction: UsageCorrection
    rest: Money
    has_next_invoice: bool


@dataclass(frozen=True)
class Chosen:
    """One change with what was chosen for it."""

    change: LateChange
    decision: CorrectionDecision


@dataclass(frozen=True)
class Desk:
    """Everything on the page."""

    at: datetime
    found: LateChanges
    customers: list[CustomerAtDesk]
    waiting: list[WaitingCorrection]

    @property
    def effects(self) -> list[Money]:
        """The money effect of all changes, by currency."""
        return self.found.effects()


def desk_page(*, at: datetime, customer_key: str = "") -> Desk:
    """Return the open late changes by customer, and the decided ones that wait for an invoice."""
    roll_up()
    found = counted_late_changes(at=at, customer_key=customer_key, lines_max=LINES_MAX)
    customers: dict[int, CustomerAtDesk] = {}
    for change in found.changes:
        customer = change.line.invoice.customer
        customers.setdefault(customer.pk, CustomerAtDesk(customer)).changes.append(change)
    return Desk(at, found, list(customers.values()), _waiting(at=at, customer_key=customer_key))


def _waiting(*, at: datetime, customer_key: str) -> list[WaitingCorrection]:
    corrections = UsageCorrection.objects.select_related("customer", "original__invoice")
    if customer_key:
        corrections = corrections.filter(customer__key=customer_key)
    rows = list(with_taken(corrections=corrections).order_by("customer__name", "id")[:LINES_MAX])
    served = set(
        Customer.objects.filter(pk__in={row.customer_id for row in rows})
        .exclude(subscriptions__isnull=True)
        .filter(subscriptions__ended_at__isnull=True)
        .values_list("pk", flat=True)
    ) | set(
        Customer.objects.filter(pk__in={row.customer_id for row in rows}, subscriptions__ended_at__gt=at).values_list(
            "pk", flat=True
        )
    )
    return [WaitingCorrection(row, rest_of(correction=row), row.customer_id in served) for row in rows]


def effect_words(chosen: Sequence[Chosen]) -> str:
    """Say in numbers what a decision will do: Bill 3 late changes, EUR 18.40; absorb 1, EUR 0.40."""
    parts = []
    for decision, verb in ((CorrectionDecision.NEXT_INVOICE, "bill"), (CorrectionDecision.ABSORBED, "absorb")):
        effects = [one.change.effect for one in chosen if one.decision == decision]
        if effects:
            currencies = sorted({effect.currency.code for effect in effects})
            sums = [total((e for e in effects if e.currency.code == code), code) for code in currencies]
            where = " on the next invoices" if decision == CorrectionDecision.NEXT_INVOICE else ""
            noun = "change" if len(effects) == 1 else "changes"
            parts.append(f"{verb} {len(effects)} late {noun}{where}, {', '.join(money_text(one) for one in sums)}")
    told = "; ".join(parts)
    return f"{told[0].upper()}{told[1:]}. A decision stays: what becomes known later is a change of its own."


@dataclass(frozen=True)
class DeskItem:
    """A change as the confirmation lists it."""

    what: str
    money: Money
    note: str

    @classmethod
    def of(cls, chosen: Chosen) -> "DeskItem":
        """Return the item."""
        change = chosen.change
        invoice = change.line.invoice
        what = f"{invoice.customer_name}: {invoice.number}, line {change.line.position} ({change.line.description})"
        return cls(what=what, money=change.effect, note=chosen.decision.label)


@admin.register(UsageCorrection)
class UsageCorrectionAdmin(ReadOnlyAdmin):
    """What was decided about late usage: links of chains that never change."""

    list_display = (
        "line",
        "customer",
        "quantities",
        "money_effect",
        "decision",
        "rule",
        moment_column("decided_at", "Decided"),
        "actor",
        "invoices",
    )
    list_filter = ("decision", "rule")
    search_fields = ("customer__key", "customer__name", "original__invoice__number", "reason")
    ordering = ("-id",)
    list_select_related = ("customer", "original__invoice")
    fields = (
        "line",
        "customer",
        "quantities",
        "amounts",
        "money_effect",
        "decision",
        "rule",
        "actor",
        "reason",
        "decided_at",
        "known_from",
        "known_through",
        "event_count",
        "invoices",
        "digest",
    )
    readonly_fields = fields
    empty_message = "What people or a customer's terms decide about late usage leaves a row here."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Read the invoices that carry each along."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.prefetch_related("lines__invoice")

    @admin.display(description="Line")
    def line(self, correction: UsageCorrection) -> SafeString:
        """Link to the proof of the corrected line."""
        original = correction.original
        proof = reverse("admin:invoicing_invoice_proof", args=[original.invoice_id])
        return link(f"{proof}?line={original.position}", f"{original.invoice.number}, line {original.position}")

    @admin.display(description="Quantity")
    def quantities(self, correction: UsageCorrection) -> str:
        """Show the quantity before and after."""
        unit = correction.original.unit
        return f"{quantity(correction.quantity_before)} → {quantity(correction.quantity_after, unit)}"

    @admin.display(description="Amount")
    def amounts(self, correction: UsageCorrection) -> SafeString:
        """Show the amount before and after."""
        return format_html("{} → {}", money(correction.amount_before), money(correction.amount_after))

    @admin.display(description="Effect", ordering="effect")
    def money_effect(self, correction: UsageCorrection) -> SafeString:
        """Show what the customer owes more."""
        return money(correction.effect)

    @admin.display(description="On")
    def invoices(self, correction: UsageCorrection) -> SafeString:
        """Link to the invoices that carry it, or say that none does."""
        invoices = [line.invoice for line in correction.lines.all() if line.invoice.status != "void"]
        if not invoices:
            waits = correction.decision == CorrectionDecision.NEXT_INVOICE
            return format_html('<span class="bo-faint">{}</span>', "waits for the next invoice" if waits else "none")
        links = [link(reverse("admin:invoicing_invoice_change", args=[one.pk]), one) for one in invoices]
        return format_html(", ".join(["{}"] * len(links)), *links)

    def get_urls(self) -> list[Any]:
        """Add the desk, and the events behind each of its rows."""
        of_line = "desk/lines/<int:line_id>/events/"
        return [
            path("desk/", self.admin_site.admin_view(self.desk), name="invoicing_late_usage_desk"),
            path(of_line, self.admin_site.admin_view(self.late_events), name="invoicing_late_events"),
            *super().get_urls(),
        ]

    def late_events(self, request: HttpRequest, line_id: int) -> HttpResponse:
        """Show which events changed an issued line."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        get_object_or_404(InvoiceLine, pk=line_id)
        context = self.page_context(request, title="Late events", page=late_events_page(line_id=line_id))
        return TemplateResponse(request, "backoffice/late_events.html", context)

    def desk(self, request: HttpRequest) -> HttpResponse:
        """Show the late changes and their money effect; take choices, confirm them with a reason, tell what happened."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        customer_key = request.GET.get("customer", "").replace("\x00", "")[:100]
        desk = desk_page(at=now(), customer_key=customer_key)
        may_decide = request.user.has_perm(DECIDE)
        problem = ""
        if request.method == "POST":
            if not may_decide:
                raise PermissionDenied
            chosen, outdated = _choices(request, desk)
            if chosen or outdated:
                return self._confirm_or_decide(request, chosen, outdated)
            problem = "Nothing was chosen: say for a line, or for all, what becomes of it."
        context = self.page_context(
            request,
            title="Late-event desk",
            desk=desk,
            may_decide=may_decide,
            choices=CHOICES,
            problem=problem,
            customer_key=customer_key,
        )
        return TemplateResponse(request, "backoffice/late_usage.html", context)

    def _confirm_or_decide(self, request: HttpRequest, chosen: list[Chosen], outdated: list[str]) -> HttpResponse:
        form = ReasonForm(request.POST if "confirmed" in request.POST else None)
        if form.is_valid():
            return self._decide(request, chosen, outdated, reason=form.cleaned_data["reason"])
        hidden = [("confirmed", "1")]
        for one in chosen:
            hidden.append((f"decision-{one.change.line.pk}", one.decision.value))
            hidden.append((f"mark-{one.change.line.pk}", one.change.mark))
        context = self.page_context(
            request,
            title="Decide about late usage",
            effect=effect_words(chosen) if chosen else "None of what was chosen is still as it was shown.",
            items=[DeskItem.of(one) for one in chosen],
            warnings=[f"{what} has changed since it was shown: look at it again." for what in outdated],
            hidden=hidden,
            form=form,
            submit=f"Decide {len(chosen)} {'change' if len(chosen) == 1 else 'changes'}",
            back=reverse("admin:invoicing_late_usage_desk"),
            dangerous=False,
        )
        return TemplateResponse(request, "backoffice/confirm.html", context)

    def _decide(self, request: HttpRequest, chosen: list[Chosen], outdated: list[str], *, reason: str) -> HttpResponse:
        """Keep each decision in a transaction of its own and show what happened, item by item."""
        results: list[tuple[Chosen, str]] = []
        for one in chosen:
            try:
                decide_late_change(
                    line_id=one.change.line.pk,
                    decision=one.decision,
                    mark=one.change.mark,
                    at=now(),
                    actor=actor_of(request),
                    reason=reason,
                )
                results.append((one, ""))
            except BillingError as refusal:
                results.append((one, refusal.message))
        failed = sum(bool(refusal) for _, refusal in results) + len(outdated)
        context = self.page_context(
            request,
            title="Late usage decided",
            results=results,
            outdated=outdated,
            decided=len(chosen) + len(outdated) - failed,
            failed=failed,
            reason=reason,
        )
        return TemplateResponse(request, "backoffice/late_usage_decided.html", context)


def _choices(request: HttpRequest, desk: Desk) -> tuple[list[Chosen], list[str]]:
    """Return what was chosen for changes that are still as they were shown, and the names of those that are not.

    "All" is for those that a line of their own says nothing about; what changes no amount is absorbed.
    """
    chosen: list[Chosen] = []
    outdated: list[str] = []
    for_all = request.POST.get("all", "")
    for change in desk.found.changes:
        name = str(change.line.pk)
        wanted = request.POST.get(f"decision-{name}", "") or for_all
        if wanted not in CorrectionDecision.values:
            continue
        if request.POST.get(f"mark-{name}", "") != change.mark:
            if f"mark-{name}" in request.POST:
                outdated.append(f"{change.line.invoice.number}, line {change.line.position}")
            continue
        decision = CorrectionDecision(wanted) if change.effect.amount else CorrectionDecision.ABSORBED
        chosen.append(Chosen(change, decision))
    gone = _named_lines(request) - {change.line.pk for change in desk.found.changes}
    for line in InvoiceLine.objects.filter(pk__in=gone).select_related("invoice").order_by("id"):
        outdated.append(f"{line.invoice.number}, line {line.position}")
    return chosen, outdated


def _named_lines(request: HttpRequest) -> set[int]:
    """Return the lines that the request wants to decide about one by one."""
    wanted = (
        name.removeprefix("decision-") for name, value in request.POST.items() if name.startswith("decision-") and value
    )
    return {int(name) for name in wanted if name.isdecimal() and len(name) < 19}
