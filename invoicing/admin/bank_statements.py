"""Bank statements in the admin: a file is looked at before it is imported, statements say whether they follow each other, and the bank meets the books."""

import zlib
from base64 import b64decode, b64encode
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from billing_site.display.admin import ReadOnlyAdmin, actor_of, add_field_errors, go
from billing_site.display.figures import NOTHING, link, money, money_text
from billing_site.display.pills import pill
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from billing_site.kernel.text import is_storable
from invoicing.bank.models import BankFile, BankStatement
from invoicing.bank.reconciliation import gap_before, reconciliations
from invoicing.core.bank.csv_statement import DATE_FORMATS, FIELDS, LAYOUTS
from invoicing.entities.queries import choices_of_entities
from invoicing.workflows.import_bank_statement import (
    FILE_BYTES_MAX,
    Upload,
    import_bank_statement,
    known_file,
    look_at_upload,
)
from invoicing.workflows.match_bank_lines import foresee
from invoicing.workflows.payout_faults import stripe_standings

IMPORT = "invoicing.record_transfer"
WAYS = f"Fields: {', '.join(FIELDS)}. decimal=, or decimal=. · date={' '.join(DATE_FORMATS)} · delimiter=comma semicolon tab"


class StatementForm(forms.Form):
    """A file of the bank's, and how it is read."""

    file = forms.FileField(widget=UnfoldAdminFileFieldWidget, required=False)
    format = forms.ChoiceField(widget=UnfoldAdminSelectWidget, choices=BankFile.Format.choices)
    layout = forms.ChoiceField(
        required=False,
        label="Layout of a CSV",
        widget=UnfoldAdminSelectWidget,
        choices=[(name, name.capitalize()) for name in LAYOUTS],
        help_text="How a CSV is written is stated, never guessed.",
    )
    rules = forms.CharField(
        required=False,
        label="Other columns of a CSV",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text=f"One a line: text=Memo, or account==DE02100100109307118603 for what no column says. {WAYS}",
    )
    legal_entity = forms.ChoiceField(
        required=False,
        label="Whose account it is",
        widget=UnfoldAdminSelectWidget,
        help_text="Of an account that is new here: its lines stand in the books of that company.",
    )
    # What was looked at, so that it is imported exactly so.
    seen_name = forms.CharField(required=False, widget=forms.HiddenInput())
    seen = forms.CharField(required=False, widget=forms.HiddenInput())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ask for a legal entity where there are several."""
        super().__init__(*args, **kwargs)
        if entities := choices_of_entities(all_of_them="The one that prints it on documents, else the first"):
            self.fields["legal_entity"].choices = entities  # type: ignore[attr-defined]
        else:
            del self.fields["legal_entity"]

    def clean_rules(self) -> dict[str, str]:
        """Split the rules."""
        pairs = [line.partition("=") for line in self.cleaned_data["rules"].splitlines() if line.strip()]
        if any(not mark for _, mark, _ in pairs):
            raise forms.ValidationError("Write each as FIELD=COLUMN.")
        return {name.strip(): column.strip() for name, _, column in pairs}

    def clean(self) -> dict[str, Any]:
        """Take the file that was chosen, or the one that was looked at."""
        cleaned = super().clean() or {}
        file, seen = cleaned.get("file"), cleaned.get("seen", "")
        if file is not None:
            cleaned["name"], cleaned["content"] = file.name, file.read(FILE_BYTES_MAX + 1)
        elif seen:
            cleaned["name"], cleaned["content"] = cleaned["seen_name"], _unpacked(seen)
        else:
            self.add_error("file", "Choose a file.")
        if not is_storable(cleaned.get("name", "")):
            self.add_error("file", "Its name has characters that cannot be kept: rename it.")
        return cleaned

    @property
    def upload(self) -> Upload:
        """The file as it is imported."""
        cleaned = self.cleaned_data
        return Upload(
            cleaned["name"],
            cleaned["format"],
            cleaned["content"],
            cleaned["layout"],
            cleaned["rules"],
            cleaned.get("legal_entity", ""),
        )


def _packed(content: bytes) -> str:
    return b64encode(zlib.compress(content)).decode()


def _unpacked(seen: str) -> bytes:
    """Return a file that was looked at; whatever else was sent is no file, and no more than a file may be."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(b64decode(seen, validate=True), FILE_BYTES_MAX + 1)
    except (ValueError, zlib.error):
        content = b""
    if not unpacking.eof:
        raise forms.ValidationError("What was looked at is not here any more: choose the file again.")
    return content


@admin.register(BankStatement)
class BankStatementAdmin(ReadOnlyAdmin):
    """Statements as they were imported."""

    list_display = ("title", "opened", "moved", "closed", "follows", "new_lines")
    list_filter = ("account",)
    search_fields = ("number", "account__identifier", "file__name")
    list_select_related = ("account", "file")
    ordering = ("-to_date", "-id")
    fields = (
        "account",
        "number_and_span",
        "opened",
        "moved",
        "closed",
        "follows",
        "lines_link",
        "left_out",
        "imported",
    )
    readonly_fields = fields
    empty_message = "A statement that is uploaded, sent over the API or imported by command stands here."

    @admin.display(description="Statement", ordering="to_date")
    def number_and_span(self, statement: BankStatement) -> str:
        """Say what it is called and which days it covers."""
        span = f"{statement.from_date} – {statement.to_date}"
        return f"{statement.number}: {span}" if statement.number else span

    @admin.display(description="Opening")
    def opened(self, statement: BankStatement) -> SafeString:
        """Show the balance before it."""
        return NOTHING if statement.opening is None else money(round_money(statement.opening, statement.currency))

    @admin.display(description="Closing")
    def closed(self, statement: BankStatement) -> SafeString:
        """Show the balance after it."""
        return NOTHING if statement.closing is None else money(round_money(statement.closing, statement.currency))

    @admin.display(description="Lines")
    def moved(self, statement: BankStatement) -> SafeString:
        """Show what its lines come to: what was checked as it was imported."""
        if statement.opening is None or statement.closing is None:
            return NOTHING
        return money(round_money(statement.closing - statement.opening, statement.currency))

    @admin.display(description="Follows the one before")
    def follows(self, statement: BankStatement) -> SafeString:
        """Say whether its opening balance is what was known before it."""
        if statement.opening is None:
            return pill("no balance")
        gap = gap_before(statement=statement)
        if gap is None:
            return pill("first")
        return pill("gap", why=f"{money_text(gap)} are on no imported line") if gap.amount else pill("follows")

    @admin.display(description="New lines")
    def new_lines(self, statement: BankStatement) -> str:
        """Say how many lines it brought, and how many were here."""
        new = statement.line_count - statement.known_count
        return f"{new}, {statement.known_count} known" if statement.known_count else str(new)

    @admin.display(description="Statement", ordering="to_date")
    def title(self, statement: BankStatement) -> SafeString:
        """Say what it is called, which days it covers, and under it its account."""
        return format_html(
            '{}<span class="bo-line bo-small bo-faint">{}</span>', self.number_and_span(statement), statement.account
        )

    @admin.display(description="Lines that it brought")
    def lines_link(self, statement: BankStatement) -> SafeString:
        """Link to its lines."""
        page = reverse("admin:invoicing_bankline_changelist")
        return link(f"{page}?statement__id__exact={statement.pk}", self.new_lines(statement))

    @admin.display(description="Left out")
    def left_out(self, statement: BankStatement) -> str:
        """Say what of it was left out, and why."""
        return "; ".join(statement.remarks) or "nothing"

    @admin.display(description="Imported")
    def imported(self, statement: BankStatement) -> str:
        """Say who imported it, when, and the digest of the file."""
        file = statement.file
        return f"{file} by {file.actor} at {file.imported_at:%Y-%m-%d %H:%M} UTC, SHA-256 {file.digest}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever records transfers imports statements."""
        return bool(request.user.has_perm(IMPORT))

    def get_urls(self) -> list[Any]:
        """Add the page on which bank and books meet."""
        view = self.admin_site.admin_view(self.reconciliation)
        return [path("reconciliation/", view, name="invoicing_bank_reconciliation"), *super().get_urls()]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Look at a file first, then import exactly what was looked at."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = StatementForm(request.POST or None, request.FILES or None)
        looked: list[dict[str, Any]] = []
        seen = ""
        entities = dict(choices_of_entities())
        if request.method == "POST" and form.is_valid():
            try:
                if "commit" in request.POST:
                    return self._import(request, form.upload)
                looked = [_figures(one, entities) for one in look_at_upload(upload=form.upload)]
                seen = _packed(form.upload.content)
            except BillingError as problem:
                add_field_errors(form, problem, renamed={"map": "rules"})
        context = self.page_context(
            request,
            title="Import a bank statement",
            form=form,
            looked=looked,
            seen=seen,
            known=known_file(content=form.upload.content) if looked else None,
        )
        return TemplateResponse(request, "backoffice/bank_upload.html", context)

    def _import(self, request: HttpRequest, upload: Upload) -> HttpResponse:
        imported = import_bank_statement(upload=upload, at=now(), actor=actor_of(request))
        if imported.is_new:
            messages.success(
                request, f"{len(imported.lines)} new lines are booked; what is beyond doubt settles in a moment."
            )
        else:
            messages.warning(
                request, f"This file was imported already, at {imported.file.imported_at:%Y-%m-%d %H:%M} UTC."
            )
        return go(f"{reverse('admin:invoicing_bankline_changelist')}?state=open")

    def reconciliation(self, request: HttpRequest) -> HttpResponse:
        """Show the bank account of the books against the statements."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.page_context(
            request, title="Bank and books", currencies=reconciliations(), at_stripe=stripe_standings()
        )
        return TemplateResponse(request, "backoffice/bank_reconciliation.html", context)


def _figures(looked: Any, entities: dict[str, str]) -> dict[str, Any]:
    """Return what importing a statement would do, for its page; whose account it is where there are several companies."""
    return {
        "statement": looked.statement,
        "looked": looked,
        "foreseen": foresee(looked=looked),
        "holder": entities.get(looked.holder, ""),
    }
