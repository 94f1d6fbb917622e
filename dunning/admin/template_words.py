"""The editor of a notice's words, beside its preview."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from billing_site.display.admin import ReasonForm, StaffAdmin, add_field_errors, go
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import BODY_MAX, BUTTON_MAX, PLACEHOLDERS, SUBJECT_MAX, Words
from dunning.notices.preview import Preview, customers_to_show, preview_mail
from dunning.notices.templates import NoticeTemplate, TemplateVersion
from invoicing.customers.models import Customer

DRAFT = "dunning.draft_templateversion"
WORD_FIELDS = ("subject", "body", "button")


class WordsForm(ReasonForm):
    """The words of a notice; `customer` is whose figures the preview shows."""

    subject = forms.CharField(
        max_length=SUBJECT_MAX, widget=UnfoldAdminTextInputWidget, help_text="Says what and how much, on one line."
    )
    body = forms.CharField(
        max_length=BODY_MAX,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 18}),
        help_text="Paragraphs, with empty lines between them. The first sentence says what to do.",
    )
    button = forms.CharField(
        max_length=BUTTON_MAX, widget=UnfoldAdminTextInputWidget, help_text="What stands on the one button."
    )
    customer = forms.ChoiceField(
        required=False,
        label="Preview with the figures of",
        widget=UnfoldAdminSelectWidget,
        help_text="It is not saved, and nothing is sent.",
    )
    field_order = ("subject", "body", "button", "reason", "customer")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Offer the customers whose figures can be shown."""
        super().__init__(*arguments, **options)
        shown = [(str(one.pk), f"{one.name} ({one.key})") for one in customers_to_show()]
        self.fields["customer"].choices = [*shown, ("", "An example")]  # type: ignore[attr-defined]

    @property
    def words(self) -> Words:
        """The words as they were entered."""
        return words_of(self.cleaned_data)


def words_of(entered: Any) -> Words:
    """Return entered words with the line ends that are kept."""
    subject, body, button = (str(entered.get(name, "")).replace("\r\n", "\n").strip() for name in WORD_FIELDS)
    return Words(subject=subject, body=body, button=button)


@dataclass(frozen=True)
class Marked:
    """The words of a version, what differs from another one's marked in each field."""

    subject: SafeString
    body: SafeString
    button: SafeString


def differences(*, before: Words, after: Words) -> tuple[Marked, Marked]:
    """Return both, with what is only in the one marked as deleted and what is only in the other as inserted."""
    pairs = [_marked(getattr(before, name), getattr(after, name)) for name in WORD_FIELDS]
    return Marked(*(old for old, _ in pairs)), Marked(*(new for _, new in pairs))


def _marked(before: str, after: str) -> tuple[SafeString, SafeString]:
    old, new = (re.findall(r"\s+|\S+", text) for text in (before, after))
    left: list[SafeString] = []
    right: list[SafeString] = []
    for what, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = "".join(old[i:j]), "".join(new[k:m])
        same = what == "equal"
        left.append(format_html("{}" if same or not gone else "<del>{}</del>", gone))
        right.append(format_html("{}" if same or not come else "<ins>{}</ins>", come))
    return SafeString("".join(left)), SafeString("".join(right))


def preview_for(template: NoticeTemplate, words: Words, *, customer: Customer | None) -> Preview:
    """Return words as they would be sent now."""
    return preview_mail(
        kind=NoticeKind(template.kind), language=template.language, words=words, customer=customer, at=now()
    )


def shown_customer(request: HttpRequest) -> Customer | None:
    """Return whose figures are asked for; the first that has some where nobody is named."""
    asked = (request.POST if request.method == "POST" else request.GET).get("customer")
    customers = customers_to_show()
    if asked is None:
        return customers[0] if customers else None
    return next((one for one in customers if str(one.pk) == asked), None)


def edit_words(
    request: HttpRequest,
    page_admin: StaffAdmin,
    template: NoticeTemplate,
    *,
    words: Words,
    title: str,
    back: str,
    save: Callable[[WordsForm], TemplateVersion],
) -> HttpResponse:
    """Show the editor beside its preview; what is saved is shown on the page of the version."""
    if not request.user.has_perm(DRAFT):
        raise PermissionDenied
    customer = shown_customer(request)
    started = {**{name: getattr(words, name) for name in WORD_FIELDS}, "customer": str(customer.pk) if customer else ""}
    form = WordsForm(request.POST or None, initial=started)
    if request.method == "POST" and form.is_valid():
        try:
            version = save(form)
        except BillingError as problem:
            add_field_errors(form, problem)
        else:
            return go(reverse("admin:dunning_templateversion_change", args=[version.pk]))
    entered = words_of(request.POST) if request.method == "POST" else words
    context = page_admin.page_context(
        request,
        title=title,
        row=template,
        form=form,
        template=template,
        placeholders=[(f"{{{name}}}", meaning) for name, meaning in PLACEHOLDERS.items()],
        preview=preview_for(template, entered, customer=customer),
        back=back,
    )
    return TemplateResponse(request, "backoffice/notice_words.html", context)
