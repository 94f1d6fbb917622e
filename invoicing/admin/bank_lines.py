"""Bank lines in the admin: those to look at first, each with what it may be and why, accepted in one click or split by hand."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money

from billing_site.display.admin import ReadOnlyAdmin, actor_of, attempt, go
from billing_site.display.figures import day, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.money import round_money
from invoicing.admin.bank_line_form import SplitForm, money_said, names_offered
from invoicing.bank.models import AllocationKind, BankLine
from invoicing.bank.queries import left_of, with_left
from invoicing.core.bank_matching import Candidate
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line
from invoicing.workflows.match_bank_lines import propose

ALLOCATE = "invoicing.record_transfer"


class StateFilter(admin.SimpleListFilter):
    """By what is to be done."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("open", "To look at"), ("in", "To look at, came in"), ("settled", "Settled")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "open":
                return queryset.exclude(left_amount=0)
            case "in":
                return queryset.filter(left_amount__gt=0)
            case "settled":
                return queryset.filter(left_amount=0)
        return queryset


@admin.register(BankLine)
class BankLineAdmin(ReadOnlyAdmin):
    """The lines of all statements."""

    list_display = ("booked", "who_and_what", "amount_moved", "amount_left", "state")
    list_filter = (StateFilter, "account", "currency", ("booked_on", admin.DateFieldListFilter))
    search_fields = ("reference", "name", "iban", "text", "bank_reference", "end_to_end_id", "structured_reference")
    list_select_related = ("account",)
    ordering = ("-booked_on", "-id")
    empty_message = (
        "The lines of imported bank statements stand here; what is not settled by itself waits for somebody."
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the lines with what is left of each."""
        return with_left(super().get_queryset(request))

    @admin.display(description="Booked", ordering="booked_on")
    def booked(self, line: BankLine) -> SafeString:
        """Show the bank's day."""
        return day(line.booked_on)

    @admin.display(description="Other party")
    def who_and_what(self, line: BankLine) -> SafeString:
        """Show the other party, and under it what it wrote."""
        text = line.text if len(line.text) <= 90 else line.text[:89] + "…"
        return format_html(
            '{}<span class="bo-line bo-small bo-faint bo-break">{}</span>', line.name or "no name", text or "no text"
        )

    @admin.display(description="Money", ordering="amount")
    def amount_moved(self, line: BankLine) -> SafeString:
        """Show what it moved."""
        return money(line.amount)

    @admin.display(description="Left", ordering="left_amount")
    def amount_left(self, line: Any) -> SafeString:
        """Show what is not identified."""
        return money(round_money(line.left_amount, line.currency))

    @admin.display(description="State")
    def state(self, line: Any) -> SafeString:
        """Show whether somebody has to look at it."""
        return pill("to look at", why="a reversal" if line.is_reversal else "") if line.left_amount else pill("settled")

    def get_urls(self) -> list[Any]:
        """Add what accepts a proposal, and what splits by hand."""
        return [
            path("<int:object_id>/accept/", self.admin_site.admin_view(self.accept), name="invoicing_bankline_accept"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a line with what it may be; take a split by hand."""
        line = self.row_or_404(request, object_id)
        left, may = left_of(line=line), request.user.has_perm(ALLOCATE)
        form = SplitForm(request.POST or None, left=left)
        if request.method == "POST":
            if not may:
                raise PermissionDenied
            if form.is_valid():
                cleaned = form.cleaned_data
                return self._allocate(request, line, cleaned["shares"], _asked(request, line), cleaned["reason"])
        found = propose(line=line) if left.amount else None
        context = self.page_context(
            request,
            title=f"Bank line {line}",
            row=line,
            left=left,
            state=pill("to look at") if left.amount else pill("settled"),
            candidates=[_candidate(one) for one in found.candidates] if found else [],
            known=[(one, abs((one.entry.occurred_at.date() - line.booked_on).days)) for one in found.known]
            if found
            else [],
            returned=found.returned if found else (),
            payouts=found.payouts if found else (),
            allocations=line.allocations.select_related(
                "payment__invoice", "customer", "entry", "reversal", "returned__payment__invoice", "payout"
            ).order_by("id"),
            form=form,
            names=names_offered(currency=line.currency) if may and left.amount else [],
            may=may and bool(left.amount),
        )
        return TemplateResponse(request, "backoffice/bank_line.html", context)

    def accept(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Accept a proposal as it was shown."""
        line = self.row_or_404(request, str(object_id))
        if not request.user.has_perm(ALLOCATE) or request.method != "POST":
            raise PermissionDenied
        shares = [share for text in request.POST.getlist("share") if (share := _share(text, line.currency))]
        return self._allocate(request, line, shares, _asked(request, line), request.POST.get("reason", ""))

    def _allocate(
        self, request: HttpRequest, line: BankLine, shares: list[Share], left: Money, reason: str
    ) -> HttpResponse:
        done = attempt(
            request,
            lambda: allocate_bank_line(
                line_id=line.pk, shares=shares, left=left, at=now(), actor=actor_of(request), reason=reason
            ),
            done=lambda made: (
                ", ".join(f"{money_text(one.amount)}: {one.get_kind_display().lower()}" for one in made) + "."
            ),
        )
        if done is not None and not left_of(line=line).amount:
            return go(f"{reverse('admin:invoicing_bankline_changelist')}?state=open")
        return go(reverse("admin:invoicing_bankline_change", args=[line.pk]))


def _asked(request: HttpRequest, line: BankLine) -> Money:
    """Return what was left of the line on the page that was looked at."""
    return money_said(request.POST.get("left", ""), line.currency)


def _candidate(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate for the page, with what its button allocates."""
    shares = [f"{AllocationKind.PAYMENT}|{invoice.id}|{part.amount}" for invoice, part in candidate.parts]
    if candidate.beyond.amount:
        shares.append(f"{AllocationKind.ON_ACCOUNT}|{candidate.customer_id}|{candidate.beyond.amount}")
    return {
        "candidate": candidate,
        "shares": shares,
        "reason": f"accepted as proposed: {'; '.join(candidate.reasons)}"[:300],
    }


def _share(text: str, currency: str) -> Share | None:
    """Read what a button says: kind, number of what it names, amount. Whatever else was sent is no share."""
    kind, _, rest = text.partition("|")
    number, _, amount = rest.partition("|")
    try:
        row, money_of = int(number), money_said(amount, currency)
    except ValueError:
        return None
    names = {
        AllocationKind.PAYMENT: "invoice_id",
        AllocationKind.ON_ACCOUNT: "customer_id",
        AllocationKind.KNOWN: "entry_id",
        AllocationKind.RETURN: "payment_id",
        AllocationKind.PAYOUT: "payout_id",
    }
    if kind not in names:
        return None
    return Share(kind, money_of, **{names[AllocationKind(kind)]: row})
