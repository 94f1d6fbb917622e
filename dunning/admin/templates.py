"""Templates of notices in the admin: what is in force, words edited beside their preview, and approval by another."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing_site.display.admin import (
    ReadOnlyAdmin,
    TrackedAdmin,
    actor_of,
    confirm_with_reason,
    moment_column,
)
from billing_site.display.figures import link, moment
from billing_site.display.pills import AMBER, BLUE, GREEN, GREY, RED, pill
from billing_site.kernel.clock import now
from dunning.admin.template_words import DRAFT, differences, edit_words, preview_for, shown_customer, words_of
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words
from dunning.notices.preview import customers_to_show
from dunning.notices.queries import version_in_force
from dunning.notices.template_operations import (
    ask_for_approval,
    change_draft,
    decide_version,
    draft_version,
    take_back,
)
from dunning.notices.templates import NoticeTemplate, TemplateVersion, VersionState

APPROVE = "dunning.approve_templateversion"
TONES = {
    VersionState.DRAFT: GREY,
    VersionState.ASKED: AMBER,
    VersionState.APPROVED: GREEN,
    VersionState.REFUSED: RED,
}
NO_WORDS = Words(subject="", body="", button="")


def version_pill(version: TemplateVersion) -> SafeString:
    """Show how far a version is."""
    return pill(version.get_state_display().lower(), tone=TONES[VersionState(version.state)])


class StateFilter(admin.SimpleListFilter):
    """By what is to be done."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [("asked", "Waits for approval"), ("draft", "Has a draft"), ("own", "Says the house's own words")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep those of the choice."""
        match self.value():
            case "asked" | "draft" as state:
                return queryset.filter(versions__state=state).distinct()
            case "own":
                return queryset.filter(versions__state=VersionState.APPROVED, versions__is_built_in=False).distinct()
        return queryset


@admin.register(NoticeTemplate)
class NoticeTemplateAdmin(ReadOnlyAdmin):
    """What is said by each kind of notice, in each language."""

    list_display = ("template", "language", "in_force", "waiting")
    list_filter = (StateFilter, "kind", "language")
    ordering = ("kind", "language")
    empty_message = "`manage.py serve` puts the words here that come with the product."

    @admin.display(description="Notice", ordering="kind")
    def template(self, template: NoticeTemplate) -> str:
        """Show the kind."""
        return template.get_kind_display()

    @admin.display(description="In force")
    def in_force(self, template: NoticeTemplate) -> str | SafeString:
        """Show the version in force, and whose words it has."""
        version = version_in_force(kind=NoticeKind(template.kind), language=template.language)
        if version is None:
            return "nothing: English is told"
        whose = pill("built-in", tone=GREY) if version.is_built_in else pill("own words", tone=BLUE)
        return format_html("{} {}", version_link(version), whose)

    @admin.display(description="Waiting")
    def waiting(self, template: NoticeTemplate) -> SafeString | str:
        """Show the drafts, and what waits for approval."""
        undecided = template.versions.filter(state__in=[VersionState.DRAFT, VersionState.ASKED]).order_by("number")
        cells = [format_html("{} {}", version_link(one), version_pill(one)) for one in undecided]
        return SafeString("<br>".join(cells)) if cells else "–"

    def get_urls(self) -> list[Any]:
        """Add the editor and its preview."""
        view = self.admin_site.admin_view
        return [
            path("<int:object_id>/draft/", view(self.draft), name="dunning_noticetemplate_draft"),
            path("<int:object_id>/preview/", view(self.preview), name="dunning_noticetemplate_preview"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what is in force, as it would be sent now, and every version before and after it."""
        template: NoticeTemplate = self.row_or_404(request, object_id)
        version = version_in_force(kind=NoticeKind(template.kind), language=template.language)
        customer = shown_customer(request)
        context = self.page_context(
            request,
            title=str(template),
            row=template,
            version=version,
            preview=preview_for(template, version.words, customer=customer) if version else None,
            customers=customers_to_show(),
            customer=customer,
            versions=[(one, version_link(one), version_pill(one)) for one in template.versions.order_by("-number")],
            may_draft=request.user.has_perm(DRAFT),
        )
        return TemplateResponse(request, "backoffice/notice_template.html", context)

    def draft(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Draft new words: what is in force stands there to begin with."""
        template: NoticeTemplate = self.row_or_404(request, str(object_id))
        version = version_in_force(kind=NoticeKind(template.kind), language=template.language)
        return edit_words(
            request,
            self,
            template,
            words=version.words if version else NO_WORDS,
            title=f"New words: {template}",
            back=reverse("admin:dunning_noticetemplate_change", args=[template.pk]),
            save=lambda form: draft_version(
                kind=NoticeKind(template.kind),
                language=template.language,
                words=form.words,
                at=now(),
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            ),
        )

    def preview(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Answer the preview of words that are being edited."""
        template: NoticeTemplate = self.row_or_404(request, str(object_id))
        entered = request.POST if request.method == "POST" else request.GET
        preview = preview_for(template, words_of(entered), customer=shown_customer(request))
        return TemplateResponse(request, "backoffice/notice_preview.html", {"preview": preview})


def version_link(version: TemplateVersion) -> SafeString:
    """Link to a version."""
    return link(reverse("admin:dunning_templateversion_change", args=[version.pk]), f"Version {version.number}")


@admin.register(TemplateVersion)
class TemplateVersionAdmin(TrackedAdmin, ReadOnlyAdmin):
    """Versions of templates: drafted by one, approved by another."""

    list_display = ("name", "state_pill", "subject", "drafted_by", moment_column("drafted_at", "Drafted"), "decided_by")
    list_filter = ("state", "template__kind", "template__language", "is_built_in")
    search_fields = ("subject", "body", "drafted_by", "decided_by")
    list_select_related = ("template",)
    ordering = ("-id",)
    empty_message = "Words that somebody drafts for a notice stand here, with who approved or refused them."

    @admin.display(description="Version")
    def name(self, version: TemplateVersion) -> str:
        """Name it with its template."""
        return str(version)

    @admin.display(description="State", ordering="state")
    def state_pill(self, version: TemplateVersion) -> SafeString:
        """Show how far it is."""
        return version_pill(version)

    def get_urls(self) -> list[Any]:
        """Add the editor and what may be decided."""
        pages = (("words", self.words), ("ask", self.ask), ("take-back", self.take_back), ("approve", self.approve))
        return [
            path(
                f"<int:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"dunning_templateversion_{name.replace('-', '_')}",
            )
            for name, view in (*pages, ("refuse", self.refuse))
        ] + super().get_urls()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the words of a version, as they would be sent now, beside those in force, and what this person may do."""
        version: TemplateVersion = self.row_or_404(request, object_id)
        template = version.template
        before = version_in_force(kind=NoticeKind(template.kind), language=template.language)
        customer = shown_customer(request)
        is_own = version.drafted_by.lower() == actor_of(request).lower()
        is_asked = version.state == VersionState.ASKED
        in_force = before if before != version else None
        old, new = differences(before=in_force.words, after=version.words) if in_force else (None, version.words)
        context = self.page_context(
            request,
            title=str(version),
            row=version,
            template=template,
            state=version_pill(version),
            in_force=in_force,
            old=old,
            new=new,
            is_in_force=before == version,
            preview=preview_for(template, version.words, customer=customer),
            customers=customers_to_show(),
            customer=customer,
            story=story_of(version),
            may_change=is_own and request.user.has_perm(DRAFT) and version.state == VersionState.DRAFT,
            may_take_back=is_own and is_asked,
            may_decide=is_asked and not is_own and request.user.has_perm(APPROVE),
            waits=is_asked,
            is_own=is_own,
        )
        return TemplateResponse(request, "backoffice/template_version.html", context)

    def words(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Change the words of one's own draft."""
        version: TemplateVersion = self.row_or_404(request, str(object_id))
        return edit_words(
            request,
            self,
            version.template,
            words=version.words,
            title=f"Change the words: {version}",
            back=reverse("admin:dunning_templateversion_change", args=[version.pk]),
            save=lambda form: change_draft(
                version_id=version.pk,
                words=form.words,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
            ),
        )

    def ask(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Ask somebody else to approve a draft."""
        version: TemplateVersion = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=version,
            permission=DRAFT,
            deed=lambda **who: ask_for_approval(version_id=version.pk, at=now(), **who),
            done=lambda done: f"{done} waits for somebody of Legal to approve.",
            title=f"Ask for approval: {version}",
            effect=f"The words stay as they are from now on: “{version.subject}”. Somebody of Legal, never you, approves or refuses them; until then customers are told what is in force now.",
            submit="Ask for approval",
        )

    def take_back(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Make a draft again of what waits."""
        version: TemplateVersion = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=version,
            permission=DRAFT,
            deed=lambda **who: take_back(version_id=version.pk, **who),
            done=lambda done: f"{done} is a draft again.",
            title=f"Take back: {version}",
            effect="It is a draft again, and its words can be changed.",
            submit="Take it back",
        )

    def approve(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Approve what another has drafted: it is in force at once."""
        return self._decide(
            request,
            object_id,
            state=VersionState.APPROVED,
            verb="Approve",
            effect="From now on customers are told “{}”, with the words on the page before this one. They never change any more; a new version takes their place.",
        )

    def refuse(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Refuse what another has drafted."""
        return self._decide(
            request,
            object_id,
            state=VersionState.REFUSED,
            verb="Refuse",
            effect="“{}” is not told to anybody; what is in force now stays. Your reason is what the drafter goes by.",
        )

    def _decide(
        self, request: HttpRequest, object_id: int, *, state: VersionState, verb: str, effect: str
    ) -> HttpResponse:
        version: TemplateVersion = self.row_or_404(request, str(object_id))
        return confirm_with_reason(
            request,
            admin=self,
            row=version,
            permission=APPROVE,
            # The words stay while it waits: what is decided is what was shown.
            deed=lambda **who: decide_version(version_id=version.pk, state=state, seen=version.words, at=now(), **who),
            done=lambda done: f"{done}: {done.get_state_display().lower()}.",
            title=f"{verb}: {version}",
            effect=effect.replace("{}", version.subject),
            submit=verb,
        )


def story_of(version: TemplateVersion) -> list[tuple[str, SafeString, str, str]]:
    """Return what happened to a version: what, when, by whom and why."""
    told = [("drafted", moment(version.drafted_at), version.drafted_by, version.reason)]
    if version.asked_at and not version.is_built_in:
        asked = version.history.filter(state=VersionState.ASKED).order_by("-history_id").first()
        _, _, why = ((asked and asked.history_change_reason) or "").partition(": ")
        told.append(("asked for approval", moment(version.asked_at), version.drafted_by, why))
    if version.decided_at and not version.is_built_in:
        told.append((version.state, moment(version.decided_at), version.decided_by, version.decision_reason))
    return told
