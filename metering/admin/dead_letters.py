"""Dead letters: what a collector could not read as an event, to be replayed, corrected or dismissed."""

from typing import Any

import msgspec
from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, Func, Q, QuerySet, TextField, Value
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.admin import (
    ReadOnlyAdmin,
    ReasonForm,
    actor_of,
    confirmation,
    go,
    moment_column,
    show_selected,
)
from billing_site.display.figures import NOTHING, link, moment
from billing_site.display.pills import AMBER, GREEN, GREY, STRUCK, pill
from billing_site.kernel.clock import now
from billing_site.kernel.words import counted
from metering.collecting.models import DeadLetter, Outcome, Shape
from metering.collecting.replay import ReplayReport, dismiss_dead_letters, preview_replay, replay_dead_letters

REPLAY = "metering.replay_deadletter"
LETTERS_MAX = 1_000
REFUSALS_SHOWN = 5
SOURCES_MAX = 50
TONES = {
    Outcome.WAITING: AMBER,
    Outcome.ACCEPTED: GREEN,
    Outcome.DUPLICATE: GREY,
    Outcome.DISMISSED: STRUCK,
}


class StateFilter(admin.SimpleListFilter):
    """Letters by what became of them."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [(outcome.label.lower(), outcome.label) for outcome in Outcome]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the letters in the chosen state."""
        chosen = [outcome for outcome in Outcome if outcome.label.lower() == self.value()]
        return queryset.filter(outcome__in=chosen) if chosen else queryset


class SourceFilter(admin.SimpleListFilter):
    """Letters of one file or partition; the choices are those that wait."""

    title = "source"
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the sources of waiting letters, and the chosen one."""
        waiting = DeadLetter.objects.filter(outcome=Outcome.WAITING).order_by("source")
        names = set(waiting.values_list("source", flat=True).distinct()[:SOURCES_MAX])
        chosen = request.GET.get(self.parameter_name)
        return [(name, name) for name in sorted(names | ({chosen} if chosen else set()))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the letters of the source."""
        return queryset.filter(source=self.value()) if self.value() else queryset


class CorrectionForm(ReasonForm):
    """What is to be read in place of the content, and why."""

    document = forms.CharField(
        label="Corrected document",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 14, "class": "bo-code", "spellcheck": "false"}),
        strip=False,
    )
    field_order = ("document", "reason")


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    """What could not be read, and what became of it."""

    list_display = ("place", "problem", "beginning", "state", moment_column("received_at", "Received"))
    list_display_links = ("place",)
    list_filter = (StateFilter, SourceFilter, "collector", ("code", admin.AllValuesFieldListFilter))
    search_fields = ("source",)
    search_help_text = "A part of the content, of the reason, of a file's or topic's name, or an idempotency key."
    ordering = ("-id",)
    sortable_by = ("received_at",)
    fields: tuple[str, ...] = (
        "place",
        "state",
        "problem",
        "content",
        "read_by",
        "received_at",
        "settlement",
        "corrected_text",
        "event_link",
    )
    readonly_fields = fields
    actions = ("replay_selected", "dismiss_selected")
    actions_detail = ("replay", "correct", "dismiss")
    empty_message = "Rows of watched files and messages of Kafka that are no events stand here, with the reason."

    @admin.display(description="Where it came from", ordering="source")
    def place(self, letter: DeadLetter) -> str:
        """Show file and row, or topic, partition and offset."""
        return str(letter)

    @admin.display(description="What is wrong", ordering="code")
    def problem(self, letter: DeadLetter) -> SafeString:
        """Show the field, the reason, and below them the code."""
        reason = f"{letter.field} {letter.message}" if letter.field else letter.message
        return format_html(
            '<span class="bo-line bo-break">{}</span><span class="bo-line bo-small bo-faint">{}</span>',
            reason,
            letter.code,
        )

    @admin.display(description="Content")
    def beginning(self, letter: DeadLetter) -> SafeString:
        """Show how the content begins."""
        text = bytes(letter.raw)[:100].decode(errors="replace")
        return format_html('<code class="bo-break bo-small">{}</code>', text) if text else NOTHING

    @admin.display(description="Content")
    def content(self, letter: DeadLetter) -> SafeString:
        """Show the content, JSON indented; bytes that are no text are shown as such."""
        return format_html('<pre class="bo-code">{}</pre>', readable(letter)) if letter.raw else NOTHING

    @admin.display(description="Read as")
    def read_by(self, letter: DeadLetter) -> str:
        """Show preset, rules and zone by which it was read and is read again."""
        parts = [letter.get_shape_display()]
        parts += [f"--preset {letter.preset}"] if letter.preset else []
        parts += [f"--map {rule}" for rule in letter.rules]
        parts += [f"--timezone {letter.zone}"] if letter.zone else []
        return ", ".join(parts)

    @admin.display(description="State", ordering="outcome")
    def state(self, letter: DeadLetter) -> SafeString:
        """Show what became of it."""
        outcome = Outcome(letter.outcome)
        return pill(outcome.label.lower(), tone=TONES[outcome])

    @admin.display(description="Settled")
    def settlement(self, letter: DeadLetter) -> SafeString:
        """Show by whom, when and why."""
        if letter.settled_at is None:
            return NOTHING
        return format_html("{} by {}: {}", moment(letter.settled_at), letter.settled_by, letter.settlement_reason)

    @admin.display(description="Read in its place")
    def corrected_text(self, letter: DeadLetter) -> SafeString:
        """Show the corrected document."""
        return format_html('<pre class="bo-code">{}</pre>', letter.corrected) if letter.corrected else NOTHING

    @admin.display(description="Event")
    def event_link(self, letter: DeadLetter) -> SafeString:
        """Link to the event it became."""
        if not letter.idempotency_key:
            return NOTHING
        found = f"{reverse('admin:metering_usageevent_changelist')}?q={letter.idempotency_key}"
        return link(found, f"{letter.customer_id}, {letter.idempotency_key}")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search in names, reasons and the content itself."""
        term = search_term.strip()
        if not term:
            return queryset, False
        escaped = Func(F("raw"), Value("escape"), function="encode", output_field=TextField())
        found = queryset.annotate(escaped=escaped).filter(
            Q(source__icontains=term)
            | Q(message__icontains=term)
            | Q(idempotency_key=term)
            | Q(escaped__contains=as_escaped(term))
        )
        return found, False

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Say whether this person may replay and dismiss."""
        return bool(request.user.has_perm(REPLAY))

    @admin.action(description="Replay the selected", permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Replay after a page that says what would become of each."""
        ids = self._waiting(request, queryset)
        return (
            self._replay(request, ids, hidden=show_selected(request, queryset, action="replay_selected"))
            if ids
            else None
        )

    @admin.action(description="Dismiss the selected", permissions=["replay"])
    def dismiss_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Dismiss after a page that says how many."""
        ids = self._waiting(request, queryset)
        return (
            self._dismiss(request, ids, hidden=show_selected(request, queryset, action="dismiss_selected"))
            if ids
            else None
        )

    @action(description="Replay", url_path="replay")
    def replay(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Replay one letter."""
        letter = self._letter_to_settle(request, object_id)
        if letter.outcome != Outcome.WAITING:
            return self._is_settled(request, letter)
        return self._replay(request, [letter.pk], row=letter)

    @action(description="Dismiss", url_path="dismiss")
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Dismiss one letter."""
        letter = self._letter_to_settle(request, object_id)
        if letter.outcome != Outcome.WAITING:
            return self._is_settled(request, letter)
        return self._dismiss(request, [letter.pk], row=letter)

    @action(description="Replay with a corrected document", url_path="correct")
    def correct(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Read something else in place of the content; what is no event is told beside the field."""
        letter = self._letter_to_settle(request, object_id)
        if letter.outcome != Outcome.WAITING or letter.shape == Shape.FILE:
            return self._is_settled(request, letter)
        form = CorrectionForm(request.POST or None, initial={"document": readable(letter)})
        if request.method == "POST" and form.is_valid():
            report = replay_dead_letters(
                ids=[letter.pk],
                at=now(),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                document=form.cleaned_data["document"],
            )
            verdict = report.verdicts[0]
            if verdict.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
                return self._done(request, report)
            form.add_error("document", f"{verdict.field}: {verdict.message}" if verdict.field else verdict.message)
        return confirmation(
            request,
            admin=self,
            title=f"Replay {letter} with a corrected document",
            effect="What you write is read in place of the content, in the same way. The content itself stays as it came.",
            warnings=[f"It was refused: {letter.field} {letter.message}"],
            form=form,
            submit="Replay it corrected",
            back=page_of(letter),
            row=letter,
        )

    def _waiting(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[int]:
        ids = list(
            queryset.filter(outcome=Outcome.WAITING).order_by("pk").values_list("pk", flat=True)[: LETTERS_MAX + 1]
        )
        if not ids:
            messages.warning(request, "None of the selected waits: nothing to do.")
        if len(ids) > LETTERS_MAX:
            messages.warning(
                request, f"More than {LETTERS_MAX:,} letters at once: take `manage.py replay_dead_letters`, or fewer."
            )
            return []
        return ids

    def _letter_to_settle(self, request: HttpRequest, object_id: str) -> DeadLetter:
        letter: DeadLetter = self.row_or_404(request, object_id)
        if not self.has_replay_permission(request):
            raise PermissionDenied
        return letter

    def _is_settled(self, request: HttpRequest, letter: DeadLetter) -> HttpResponse:
        is_file = letter.outcome == Outcome.WAITING
        messages.warning(
            request,
            "The rest of a file cannot be corrected here: put the mended file into the folder, and dismiss this."
            if is_file
            else f"This letter is settled: {letter.get_outcome_display().lower()} by {letter.settled_by}.",
        )
        return go(page_of(letter))

    def _replay(
        self, request: HttpRequest, ids: list[int], *, row: DeadLetter | None = None, hidden: Any = ()
    ) -> HttpResponse:
        is_confirmed = "confirmed" in request.POST or (row is not None and request.method == "POST")
        form = ReasonForm(request.POST if is_confirmed else None)
        if is_confirmed and form.is_valid():
            reason = form.cleaned_data["reason"]
            return self._done(request, replay_dead_letters(ids=ids, at=now(), actor=actor_of(request), reason=reason))
        report = preview_replay(ids=ids, at=now())
        stay = [verdict for verdict in report.verdicts if verdict.outcome in ("refused", "conflict")]
        told = [f"{one.place} stays: {one.field} {one.message}" for one in stay[:REFUSALS_SHOWN]]
        more = [f"{len(stay) - REFUSALS_SHOWN} more stay."] if len(stay) > REFUSALS_SHOWN else []
        return confirmation(
            request,
            admin=self,
            title=f"Replay {row}" if row else "Replay dead letters",
            effect=effect_of(report),
            warnings=[*told, *more],
            form=form,
            submit=f"Replay {letters_of(len(ids))}",
            hidden=hidden,
            back=page_of(row),
            row=row,
        )

    def _dismiss(
        self, request: HttpRequest, ids: list[int], *, row: DeadLetter | None = None, hidden: Any = ()
    ) -> HttpResponse:
        is_confirmed = "confirmed" in request.POST or (row is not None and request.method == "POST")
        form = ReasonForm(request.POST if is_confirmed else None)
        if is_confirmed and form.is_valid():
            reason = form.cleaned_data["reason"]
            settled = dismiss_dead_letters(ids=ids, at=now(), actor=actor_of(request), reason=reason)
            messages.success(request, f"{letters_of(settled)} dismissed.")
            return go(page_of(row))
        return confirmation(
            request,
            admin=self,
            title=f"Dismiss {row}" if row else "Dismiss dead letters",
            effect=f"{letters_of(len(ids))} will never be counted. The content stays listed, with your reason.",
            form=form,
            submit=f"Dismiss {letters_of(len(ids))}",
            hidden=hidden,
            back=page_of(row),
            dangerous=True,
            row=row,
        )

    def _done(self, request: HttpRequest, report: ReplayReport) -> HttpResponse:
        context = self.page_context(request, title="Replayed", verdicts=report.verdicts, effect=effect_of(report))
        return TemplateResponse(request, "backoffice/replayed.html", context)


def effect_of(report: ReplayReport) -> str:
    """Say in numbers what a replay makes of its letters."""
    words = {
        "accepted": "accepted as new",
        "duplicate": "accepted before",
        "conflict": "in conflict with an accepted event",
        "refused": "refused again",
        "settled": "settled before",
    }
    parts = [f"{report.count(outcome):,} {text}" for outcome, text in words.items() if report.count(outcome)]
    return f"Of {letters_of(len(report.verdicts))}: {', '.join(parts)}."


def letters_of(number: int) -> str:
    """Return a number of letters in words."""
    return f"{number:,} {counted('letter', number)}"


def page_of(letter: DeadLetter | None) -> str:
    """Return the address of a letter's page, or of the list."""
    if letter is None:
        return reverse("admin:metering_deadletter_changelist")
    return reverse("admin:metering_deadletter_change", args=[letter.pk])


def readable(letter: DeadLetter) -> str:
    """Return the content for people to read and correct: JSON indented, with every digit as it came."""
    text = bytes(letter.raw).decode(errors="backslashreplace")
    if letter.shape not in (Shape.OBJECT, Shape.ROW):
        return text
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text


def as_escaped(term: str) -> str:
    """Write a term as PostgreSQL's escape format writes bytes."""
    return "".join(
        "\\\\" if byte == ord("\\") else chr(byte) if byte < 128 else f"\\{byte:03o}"
        for byte in term.encode("utf-8", "surrogateescape")
    )
