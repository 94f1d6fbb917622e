"""The books: journal entries with their postings, and the chart of accounts; read-only."""

from typing import Any

from django.contrib import admin
from django.db.models import Exists, F, OuterRef, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from billing_site.display.admin import ReadOnlyAdmin, moment_column
from billing_site.display.figures import figure
from billing_site.display.pills import pill
from billing_site.kernel.money import total
from invoicing.entities.queries import choices_of_entities
from invoicing.ledger.models import Account, JournalEntry, Posting
from invoicing.ledger.queries import postings_of
from invoicing.reports.booked import booked_later_words


class BookedFilter(admin.SimpleListFilter):
    """By whether an entry is booked in the month in which it happened."""

    title = "booked"
    parameter_name = "booked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("later", "Later, its month was closed"), ("at-once", "When it happened")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "later":
                return queryset.filter(booked_at__gt=F("occurred_at"))
            case "at-once":
                return queryset.filter(booked_at=F("occurred_at"))
            case _:
                return queryset


class BooksFilter(admin.SimpleListFilter):
    """By the legal entity in whose books an entry has postings; where there is one, nobody is asked."""

    title = "books of"
    parameter_name = "legal_entity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the legal entities, where there are several."""
        return choices_of_entities()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the entries of one."""
        if not (entity := self.value()):
            return queryset
        return queryset.filter(Exists(postings_of(entity=entity).filter(entry=OuterRef("pk"))))


@admin.register(JournalEntry)
class JournalEntryAdmin(ReadOnlyAdmin):
    """One business fact in the books."""

    list_display = ("reference", moment_column("booked_at", "Booked"), "what", "debits", "balance")
    list_display_links = ("reference",)
    list_filter = (BooksFilter, BookedFilter, "kind", "currency", "postings__account")
    search_fields = ("reference", "description")
    date_hierarchy = "booked_at"
    ordering = ("-booked_at", "-id")
    empty_message = "Issuing an invoice and receiving a payment each write a balanced entry here."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Load the postings of the page in one query."""
        queryset: QuerySet[Any] = super().get_queryset(request)
        return queryset.prefetch_related("postings__account")

    @admin.display(description="Description", ordering="description")
    def what(self, entry: JournalEntry) -> str:
        """Show what it is, and from when where its own month was closed."""
        return f"{entry.description}{booked_later_words(happened=entry.occurred_at, booked=entry.booked_at)}"

    @admin.display(description="Debits and credits")
    def debits(self, entry: JournalEntry) -> SafeString:
        """Show every posting with its account, and in whose books it stands where these are several; credits in parentheses."""
        postings = sorted(entry.postings.all(), key=lambda posting: posting.pk)
        are_several = len({posting.legal_entity_id for posting in postings}) > 1
        return format_html_join(
            "",
            '<span class="bo-line bo-posting"><span>{}{}</span> {}</span>',
            (
                (
                    f"{posting.legal_entity_id}: " if are_several else "",
                    posting.account,
                    figure(amount=posting.amount.amount, currency=posting.currency),
                )
                for posting in postings
            ),
        )

    @admin.display(description="Balance")
    def balance(self, entry: JournalEntry) -> SafeString:
        """Show that its postings sum to zero."""
        rest = total((posting.amount for posting in entry.postings.all()), entry.currency)
        return pill("balanced") if not rest.amount else pill("unbalanced", why=str(rest))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the entry with its postings."""
        entry = self.row_or_404(request, object_id)
        postings = list(entry.postings.select_related("account", "legal_entity").order_by("id"))
        context = self.page_context(
            request,
            title=entry.description,
            row=entry,
            postings=postings,
            # Whose books these are is said where there are several companies.
            entities=dict(choices_of_entities()),
            balance=total((posting.amount for posting in postings), entry.currency),
        )
        return TemplateResponse(request, "backoffice/journal_entry.html", context)


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """The chart of accounts."""

    list_display = ("code", "name", "kind", "balances")
    ordering = ("code",)
    search_fields = ("code", "name")

    @admin.display(description="Balance")
    def balances(self, account: Account) -> SafeString:
        """Show the balance of each currency."""
        rows = (
            Posting.objects.filter(account=account).values("currency").annotate(sum=Sum("amount")).order_by("currency")
        )
        return format_html_join(
            "",
            '<span class="bo-line">{}</span>',
            ((figure(amount=getattr(row["sum"], "amount", row["sum"]), currency=row["currency"]),) for row in rows),
        )
