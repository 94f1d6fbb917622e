"""Stripe's payouts in the admin: each with what it was made of beside our entries, and what nothing explains, until somebody says what it is."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from moneyed import Money
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from billing_site.display.admin import ReadOnlyAdmin, ReasonForm, actor_of, attempt, confirmation, go, moment_column
from billing_site.display.figures import NOTHING, day, link, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.money import round_money, total
from invoicing.admin.bank_line_form import money_said
from invoicing.core.posting import ELSEWHERE, PAYMENT_FEES
from invoicing.ledger.models import JournalEntry
from invoicing.payments.payout import GONE_BACK, Payout, StripeTransaction
from invoicing.workflows.explain_payouts import explain_transaction, explained, with_transactions
from invoicing.workflows.match_payouts import on_way_of, payouts_on_way

SETTLE = "invoicing.record_transfer"
# A payout of a busy day is made of thousands of transactions.
SHOWN_MAX = 200
OF_PAYOUTS = (JournalEntry.Kind.PAYOUT, JournalEntry.Kind.PAYOUT_RETURN)


class WayFilter(admin.SimpleListFilter):
    """By what is to be done."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [
            ("on_way", "On no bank statement"),
            ("unexplained", "With transactions to explain"),
            ("back", "Went back"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "on_way":
                return queryset.filter(pk__in=payouts_on_way().values("pk"))
            case "unexplained":
                return queryset.filter(transactions__explained_at__isnull=True, transactions__isnull=False).distinct()
            case "back":
                return queryset.filter(status__in=GONE_BACK)
        return queryset


@admin.register(Payout)
class PayoutAdmin(ReadOnlyAdmin):
    """What Stripe paid out."""

    list_display = ("stripe_id", "state", "amount_paid_out", "expected", moment_column("created_at", "Left Stripe"))
    list_filter = (WayFilter, "status", "currency", ("arrival_date", admin.DateFieldListFilter))
    search_fields = ("stripe_id", "trace", "descriptor", "transactions__stripe_id", "transactions__source")
    ordering = ("-created_at", "-id")
    empty_message = "What Stripe pays out to the bank stands here, with all that it is made of: a notice or the look of each day brings it."

    @admin.display(description="State", ordering="status")
    def state(self, payout: Payout) -> SafeString:
        """Show how far it is, and why it failed."""
        return pill(payout.get_status_display().lower(), why=payout.failure_message)

    @admin.display(description="Money", ordering="amount")
    def amount_paid_out(self, payout: Payout) -> SafeString:
        """Show how much."""
        return money(payout.amount)

    @admin.display(description="Expected at the bank", ordering="arrival_date")
    def expected(self, payout: Payout) -> SafeString:
        """Show when Stripe expects it."""
        return day(payout.arrival_date)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a payout with what it was made of beside our entries."""
        payout = self.row_or_404(request, object_id)
        made_of = [
            one
            for one in with_transactions(payout=payout, limit=SHOWN_MAX)
            # What took it off Stripe's balance is no part of what it is made of.
            if one.transaction.source != payout.stripe_id or one.difference.amount
        ]
        on_way = on_way_of(payout=payout)
        entries = JournalEntry.objects.filter(kind__in=OF_PAYOUTS, reference=payout.stripe_id)
        context = self.page_context(
            request,
            title=f"Payout {payout}",
            row=payout,
            state=self.state(payout),
            made_of=made_of,
            all_count=payout.transactions.exclude(source=payout.stripe_id).count(),
            sums=sums_of(payout=payout),
            all_link=f"{reverse('admin:invoicing_stripetransaction_changelist')}?payout__id__exact={payout.pk}",
            open_count=payout.transactions.filter(explained_at__isnull=True).count(),
            on_way=on_way,
            is_back=payout.status in GONE_BACK,
            lines=payout.bank_allocations.select_related("line", "reversal").order_by("id"),
            entries=entries.order_by("id"),
        )
        return TemplateResponse(request, "backoffice/payout.html", context)


@dataclass(frozen=True)
class KindSum:
    """What a payout is made of, of one kind or of all."""

    kind: str
    count: int
    amount: Money
    fee: Money
    net: Money


def sums_of(*, payout: Payout) -> list[KindSum]:
    """Return what a payout is made of by kind, and all of it last; one query, however much it is."""
    rows = (
        payout.transactions.exclude(source=payout.stripe_id)
        .values("kind")
        .annotate(number_of=Count("pk"), amount_of=Sum("amount"), fee_of=Sum("fee"), net_of=Sum("net"))
        .order_by("kind")
    )
    kinds = [
        KindSum(
            row["kind"].replace("_", " "),
            row["number_of"],
            *(round_money(row[name], payout.currency) for name in ("amount_of", "fee_of", "net_of")),
        )
        for row in rows
    ]
    amount, fee, net = (
        total((getattr(one, name) for one in kinds), payout.currency) for name in ("amount", "fee", "net")
    )
    return [*kinds, KindSum("all of it", sum(one.count for one in kinds), amount, fee, net)]


class ExplainedFilter(admin.SimpleListFilter):
    """By whether the books say the same."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("unexplained", "To look at"), ("explained", "Explained"), ("not_paid_out", "Not paid out yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "unexplained":
                return queryset.filter(explained_at__isnull=True)
            case "explained":
                return queryset.filter(explained_at__isnull=False)
            case "not_paid_out":
                return queryset.filter(payout__isnull=True)
        return queryset


class ExplanationForm(ReasonForm):
    """What a transaction is that nothing of ours explains."""

    account = forms.ChoiceField(
        choices=[(PAYMENT_FEES, "A fee of Stripe (6210)"), (ELSEWHERE, "Booked elsewhere (1900)")],
        widget=UnfoldAdminSelectWidget(),
    )
    field_order = ("account", "reason")


@admin.register(StripeTransaction)
class StripeTransactionAdmin(ReadOnlyAdmin):
    """What moved Stripe's balance."""

    list_display = (
        "stripe_id",
        "state",
        "kind_words",
        "net_moved",
        "fee_kept",
        "payout_link",
        moment_column("created_at", "Moved"),
    )
    list_filter = (ExplainedFilter, "kind", "currency", ("created_at", admin.DateFieldListFilter))
    search_fields = ("stripe_id", "source", "description", "payout__stripe_id")
    list_select_related = ("payout",)
    ordering = ("-created_at", "-id")
    fields = (
        "state", "kind_words", "amount_moved", "fee_kept", "net_moved", "ours", "unexplained", "payout_link", "source",
        "description", "created_at", "explained_at",
    )  # fmt: skip
    readonly_fields = fields
    actions_detail = ("explain",)
    empty_message = "What moves Stripe's balance stands here: charges, fees, refunds, disputes, payouts."

    def get_actions_detail(self, request: HttpRequest, object_id: int) -> list[Any]:
        """Offer to say what it is, where nothing of ours does."""
        waits = StripeTransaction.objects.filter(pk=object_id, explained_at__isnull=True).exists()
        return super().get_actions_detail(request, object_id) if waits and request.user.has_perm(SETTLE) else []

    @admin.display(description="State", ordering="explained_at")
    def state(self, one: StripeTransaction) -> SafeString:
        """Show whether the books say the same."""
        return pill("explained") if one.explained_at else pill("unexplained", why="the books say something else")

    @admin.display(description="What", ordering="kind")
    def kind_words(self, one: StripeTransaction) -> SafeString:
        """Show Stripe's word, and what it is about."""
        return format_html(
            '{}<span class="bo-line bo-small bo-faint bo-break">{}</span>',
            one.kind.replace("_", " "),
            one.description or one.source,
        )

    @admin.display(description="Amount")
    def amount_moved(self, one: StripeTransaction) -> SafeString:
        """Show the amount before Stripe's fee."""
        return money(one.amount)

    @admin.display(description="Fee", ordering="fee")
    def fee_kept(self, one: StripeTransaction) -> SafeString:
        """Show what Stripe kept."""
        return money(one.fee)

    @admin.display(description="Net", ordering="net")
    def net_moved(self, one: StripeTransaction) -> SafeString:
        """Show what the balance moved by."""
        return money(one.net)

    @admin.display(description="Payout")
    def payout_link(self, one: StripeTransaction) -> SafeString:
        """Link to the payout that paid it out."""
        if one.payout is None:
            return NOTHING
        return link(reverse("admin:invoicing_payout_change", args=[one.payout_id]), one.payout)

    @admin.display(description="In our books")
    def ours(self, one: StripeTransaction) -> SafeString:
        """Say what we booked of it, and by what."""
        [found] = explained(transactions=[one])
        return format_html("{} {}", money(found.booked), "; ".join(found.by) or "nothing of ours")

    @admin.display(description="Unexplained")
    def unexplained(self, one: StripeTransaction) -> SafeString:
        """Show what nothing of ours says."""
        return money(explained(transactions=[one])[0].difference)

    @action(description="Say what it is", url_path="explain")
    def explain(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Book what nothing of ours explains, with a reason."""
        one: StripeTransaction = self.row_or_404(request, object_id)
        if not request.user.has_perm(SETTLE):
            raise PermissionDenied
        page = reverse("admin:invoicing_stripetransaction_change", args=[one.pk])
        [found] = explained(transactions=[one])
        form = ExplanationForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            attempt(
                request,
                lambda: explain_transaction(
                    transaction_id=one.pk,
                    account=form.cleaned_data["account"],
                    difference=money_said(request.POST.get("difference", ""), one.currency),
                    at=now(),
                    actor=actor_of(request),
                    reason=form.cleaned_data["reason"],
                ),
                done=lambda said: f"{money_text(said.amount)} of {one} are explained, and booked.",
            )
            return go(page)
        return confirmation(
            request,
            admin=self,
            title=f"Say what {one} is",
            effect=f"{money_text(found.difference)} of it are in no entry of ours. They are booked between Stripe's balance (1100) and the account"
            " that you choose. Where a payment or refund is missing, look for its notice first: once it is taken in, this is explained by itself.",
            form=form,
            submit="Book it",
            hidden=[("difference", str(found.difference.amount))],
            back=page,
            row=one,
        )
