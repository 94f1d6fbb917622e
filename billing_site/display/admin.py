"""What every list and page of the admin shares: read-only documents, histories, and actions that confirm with a reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from billing_site.display.changes import as_of, changes_of, readable, with_previous
from billing_site.display.figures import NOTHING, moment
from billing_site.kernel.errors import BillingError

HISTORY_LENGTH = 200
# The keys of all rows that were chosen for an action, in its confirmation.
SELECTED_ROWS = "selected_rows"
# The key of none: an empty one is no number to the database.
NO_ROW = "0"


def moment_column(name: str, title: str) -> Callable[[Any], SafeString]:
    """Return a list column that writes the time in field `name` with its zone."""

    def column(row: Any) -> SafeString:
        at = getattr(row, name)
        return NOTHING if at is None else moment(at)

    column.__name__ = name
    column.short_description = title  # type: ignore[attr-defined]
    column.admin_order_field = name  # type: ignore[attr-defined]
    return column


class ReasonForm(forms.Form):
    """Why something is done; it stands in the history beside who did it."""

    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="It stands in the history beside your name.",
    )

    def clean_reason(self) -> str:
        """Refuse a reason of blanks."""
        reason = str(self.cleaned_data["reason"]).strip()
        if not reason:
            raise forms.ValidationError("Say why.")
        return reason


class ReasonedForm(ReasonForm, forms.ModelForm):
    """The fields of a row, and why it is added or changed."""


class OperationForm(forms.ModelForm):
    """A form whose row an operation makes: what that refuses is told at its field, before anything is saved."""

    # What the form calls otherwise than the operation.
    renamed: ClassVar[Mapping[str, str]] = {}

    def operate(self, *, actor: str) -> Model:
        """Do it, with what is cleaned, and return the row; raises BillingError."""
        raise NotImplementedError

    def clean(self) -> dict[str, Any]:
        """Try the operation itself and take it back."""
        self.cleaned_data = super().clean() or {}
        if not self.errors:
            try:
                with transaction.atomic():
                    self.operate(actor="form")
                    transaction.set_rollback(True)
            except BillingError as problem:
                add_field_errors(self, problem, renamed=self.renamed)
        return self.cleaned_data

    def validate_constraints(self) -> None:
        """Leave it to the operation, which tells the field."""


class StaffAdmin(ModelAdmin):
    """A list and a page in the house's manner."""

    list_per_page = 50
    empty_value_display = "–"
    compressed_fields = True
    warn_unsaved_form = True
    # What will fill the list while it is empty; templates/unfold/helpers/empty_results.html shows it.
    empty_message = ""
    # What a form that adds a row is called, and what follows from it.
    add_title = ""
    add_words = ""
    change_form_before_template = "backoffice/add_words.html"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the list under the name of what it lists, not under "Select ... to view"."""
        changelist = super().get_changelist_instance(request)
        changelist.title = capfirst(self.opts.verbose_name_plural)
        return changelist

    def page_context(
        self, request: HttpRequest, *, title: str, row: Model | None = None, **context: Any
    ) -> dict[str, Any]:
        """Return what every page of this model needs beside its own content."""
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "object": row,
            "is_popup": False,
            **context,
        }

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Run an action; a confirmed one on the rows that its confirmation showed."""
        if rows := request.POST.get(SELECTED_ROWS, ""):
            posted = request.POST.copy()
            posted.setlist(ACTION_CHECKBOX_NAME, [key for key in rows.split(",") if key])
            request.POST = posted  # type: ignore[assignment]
        return super().response_action(request, queryset)

    def row_or_404(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row that this user may see."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404(f"there is no {self.opts.verbose_name} {object_id}")
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return row

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Offer one way to save, and tell a refusal of an operation or of the database as what it is."""
        context = {"show_save_and_add_another": False, "show_save_and_continue": False, **(extra_context or {})}
        try:
            with transaction.atomic():
                return super().changeform_view(request, object_id, form_url, context)
        except BillingError as problem:
            messages.error(request, f"Nothing has changed: {readable(problem.message)}")
        except IntegrityError as problem:
            messages.error(request, f"Nothing has changed, the database refused it: {str(problem).splitlines()[0]}")
        return HttpResponseRedirect(request.get_full_path())

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponse:
        """End on the page of what was added, where it can be checked."""
        return go(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[obj.pk]))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Let the operation of an OperationForm make the row; save any other."""
        if isinstance(form, OperationForm):
            obj.pk = form.operate(actor=actor_of(request)).pk
        else:
            super().save_model(request, obj, form, change)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nothing in the books, the catalog or the customer list is deleted."""
        return False


class ReadOnlyAdmin(StaffAdmin):
    """A list of facts: looked at, never edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Facts come from operations."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Facts stay."""
        return False


class MomentForm(forms.Form):
    """The moment at which a row is looked at."""

    at = forms.DateTimeField(
        label="As it was at the end of this second (UTC)",
        widget=forms.DateTimeInput(
            attrs={"type": "datetime-local", "step": "1", "class": "bo-button"}, format="%Y-%m-%dT%H:%M:%S"
        ),
        error_messages={
            "required": "Say when: a day and a time in UTC.",
            "invalid": "Say when: 2026-07-01 09:30, in UTC.",
        },
    )

    def clean_at(self) -> datetime:
        """Take the whole second: what was changed within it counts."""
        at: datetime = self.cleaned_data["at"]
        return at.replace(microsecond=999_999)


class TrackedAdmin(StaffAdmin):
    """A model with history: its history page shows each change with actor and reason."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show who changed this row, when, what and why, newest first; with `?at=` (UTC) also the row as it was then."""
        row = self.row_or_404(request, object_id)
        form = MomentForm(request.GET if "at" in request.GET else None)
        then = as_of(row=row, at=form.cleaned_data["at"]) if form.is_valid() else None
        context = self.page_context(
            request, title=f"History of {row}", row=row, changes=history_of(row), form=form, then=then
        )
        return TemplateResponse(request, "backoffice/history.html", context)


def history_of(row: Any) -> list[Any]:
    """Return the newest changes of one tracked row, at most HISTORY_LENGTH."""
    return changes_of(rows=with_previous(history=row.history.order_by("-history_id"))[:HISTORY_LENGTH])


def actor_of(request: HttpRequest) -> str:
    """Return the name under which the signed-in person stands in histories."""
    return request.user.get_username()


@dataclass(frozen=True)
class ConfirmedTable:
    """Figures that an action's confirmation shows: the first column says what, the others are numbers; `more` what is left out.

    `caption` stands above it, where there are several.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[object]]
    more: str = ""
    caption: str = ""


def confirmation(
    request: HttpRequest,
    *,
    admin: StaffAdmin,
    title: str,
    effect: str | SafeString,
    form: forms.Form,
    submit: str,
    back: str,
    items: Sequence[Any] = (),
    warnings: Sequence[str] = (),
    hidden: Sequence[tuple[str, str]] = (),
    dangerous: bool = False,
    row: Model | None = None,
    table: ConfirmedTable | None = None,
    details: Sequence[ConfirmedTable] = (),
) -> TemplateResponse:
    """Show what an action will do, in numbers, and ask for its reason before it runs."""
    context = admin.page_context(
        request,
        title=title,
        row=row,
        effect=effect,
        form=form,
        submit=submit,
        back=back,
        items=items,
        warnings=warnings,
        hidden=hidden,
        dangerous=dangerous,
        tables=[*([table] if table else []), *details],
    )
    return TemplateResponse(request, "backoffice/confirm.html", context)


def confirm_with_reason(
    request: HttpRequest,
    *,
    admin: StaffAdmin,
    row: Model,
    permission: str,
    deed: Callable[..., Any],
    done: Callable[[Any], str],
    title: str,
    effect: str | SafeString,
    submit: str,
    warnings: Sequence[str] = (),
    dangerous: bool = False,
) -> HttpResponse:
    """Say what a deed does to a row and ask why; then `deed(actor=..., reason=...)` does it, and the row's page follows.

    Raises PermissionDenied.
    """
    if not request.user.has_perm(permission):
        raise PermissionDenied
    page = reverse(f"admin:{admin.opts.app_label}_{admin.opts.model_name}_change", args=[row.pk])
    form = ReasonForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        attempt(request, lambda: deed(actor=actor_of(request), reason=form.cleaned_data["reason"]), done=done)
        return go(page)
    return confirmation(
        request,
        admin=admin,
        title=title,
        effect=effect,
        warnings=warnings,
        form=form,
        submit=submit,
        back=page,
        dangerous=dangerous,
        row=row,
    )


def show_selected(request: HttpRequest, queryset: QuerySet[Any], *, action: str) -> list[tuple[str, str]]:
    """Return the hidden fields that carry an action's selection through its confirmation: one for all rows, however many they are.

    Django takes so many fields and no more (DATA_UPLOAD_MAX_NUMBER_FIELDS).
    """
    keys = [str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True)]
    # Without one of Django's own fields it is no action to Django.
    return [
        ("action", action),
        ("confirmed", "1"),
        (ACTION_CHECKBOX_NAME, keys[0] if keys else NO_ROW),
        (SELECTED_ROWS, ",".join(keys)),
    ]


def attempt(request: HttpRequest, act: Callable[[], Any], *, done: Callable[[Any], str]) -> Any:
    """Run one operation; tell its success, or the anticipated failure with the word that nothing has changed."""
    try:
        result = act()
    except BillingError as problem:
        messages.error(request, f"Nothing has changed: {readable(problem.message)}")
        return None
    messages.success(request, done(result))
    return result


def attempt_asked(
    request: HttpRequest, form: forms.Form, act: Callable[[], Any], *, done: Callable[[Any], str]
) -> bool:
    """Run the operation that a form asks for; returns whether the page is left: a refusal stands at its field, with all that was typed.

    What was decided about something that the form carries unseen is outdated: that is told, and only a new page mends it.
    """
    try:
        result = act()
    except BillingError as problem:
        if form.hidden_fields():
            messages.error(request, f"Nothing has changed: {readable(problem.message)}")
            return True
        add_field_errors(form, problem)
        return False
    messages.success(request, done(result))
    return True


def add_field_errors(form: forms.BaseForm, problem: BillingError, *, renamed: Mapping[str, str] | None = None) -> None:
    """Put an operation's complaints beside the fields that they are about; `renamed` says what the form calls otherwise."""
    told = False
    for error in problem.field_errors:
        field = (renamed or {}).get(error.field, error.field)
        if field in form.fields:
            form.add_error(field, readable(error.message))
            told = True
    if not told:
        form.add_error(None, readable(problem.message))


def go(url: str) -> HttpResponseRedirect:
    """Answer with a redirect to a page of ours."""
    return HttpResponseRedirect(url)
