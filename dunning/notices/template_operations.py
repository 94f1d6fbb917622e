"""What may happen to templates: the product's own are installed, versions are drafted, changed, asked for, approved or refused."""

from datetime import datetime

from django.db import transaction
from django.db.models import Max

from billing_site.kernel.errors import Conflict, FieldError, InvalidFields, NotFound
from billing_site.kernel.history import create_all_with_reason, save_with_reason
from billing_site.kernel.reasons import checked_reason
from dunning.core.built_in import BUILT_IN
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words, word_mistakes
from dunning.notices.templates import HOUSE, NoticeTemplate, TemplateVersion, VersionState

CAME_WITH_PRODUCT = "came with the product"


class SamePerson(Conflict):
    """Whoever drafts a template does not approve it."""

    code = "same_person"


@transaction.atomic
def install_built_ins(*, at: datetime) -> int:
    """Make sure that every kind can be told in every language that the product speaks; returns how many versions are new.

    Words that changed with a release are a new version; a house's own approved version stands before them all the same. A few queries, however many there are.
    """
    words = {(kind.value, language): words for language, kinds in BUILT_IN.items() for kind, words in kinds.items()}
    known = set(NoticeTemplate.objects.values_list("kind", "language"))
    NoticeTemplate.objects.bulk_create(
        [NoticeTemplate(kind=kind, language=language) for kind, language in words if (kind, language) not in known],
        ignore_conflicts=True,
    )
    # Locked: versions of one template are made one after the other, so that their numbers have no gap.
    templates = [
        one for one in NoticeTemplate.objects.select_for_update().order_by("pk") if (one.kind, one.language) in words
    ]
    built_in = TemplateVersion.objects.filter(is_built_in=True).order_by("template_id", "-number")
    newest = {one.template_id: one.words for one in built_in.distinct("template_id")}
    last = dict(TemplateVersion.objects.values_list("template_id").annotate(Max("number")))
    versions = [
        _numbered(
            template,
            last.get(template.pk, 0) + 1,
            words[template.kind, template.language],
            is_built_in=True,
            state=VersionState.APPROVED.value,
            drafted_at=at,
            asked_at=at,
            decided_at=at,
            drafted_by=HOUSE,
            decided_by=HOUSE,
            reason=CAME_WITH_PRODUCT,
            decision_reason=CAME_WITH_PRODUCT,
        )
        for template in templates
        if newest.get(template.pk) != words[template.kind, template.language]
    ]
    create_all_with_reason(versions, actor=HOUSE, reason=CAME_WITH_PRODUCT)
    return len(versions)


@transaction.atomic
def draft_version(
    *, kind: NoticeKind, language: str, words: Words, at: datetime, actor: str, reason: str
) -> TemplateVersion:
    """Draft new words for a kind and language. Raises InvalidFields where they cannot be used, each mistake at its field."""
    said = checked_reason(reason=reason)
    _check(words)
    version = _new_version(_template(kind=kind, language=language), words, drafted_at=at, drafted_by=actor, reason=said)
    save_with_reason(version, actor=actor, reason=said)
    return version


@transaction.atomic
def change_draft(*, version_id: int, words: Words, actor: str, reason: str) -> TemplateVersion:
    """Change the words of one's own draft. Raises NotFound, InvalidFields, and Conflict where it is somebody else's or no draft."""
    said = checked_reason(reason=reason)
    _check(words)
    version = _own(version_id, actor=actor, state=VersionState.DRAFT, what="changed")
    version.subject, version.body, version.button, version.reason = words.subject, words.body, words.button, said
    save_with_reason(version, actor=actor, reason=said)
    return version


@transaction.atomic
def ask_for_approval(*, version_id: int, at: datetime, actor: str, reason: str) -> TemplateVersion:
    """Ask that a draft of one's own is approved; from now on its words stay. Raises NotFound and Conflict."""
    said = checked_reason(reason=reason)
    version = _own(version_id, actor=actor, state=VersionState.DRAFT, what="asked for")
    _check(version.words)
    version.state, version.asked_at = VersionState.ASKED.value, max(at, version.drafted_at)
    save_with_reason(version, actor=actor, reason=said)
    return version


@transaction.atomic
def take_back(*, version_id: int, actor: str, reason: str) -> TemplateVersion:
    """Make a draft again of what one asks for oneself and nobody has decided yet. Raises NotFound and Conflict."""
    said = checked_reason(reason=reason)
    version = _own(version_id, actor=actor, state=VersionState.ASKED, what="taken back")
    version.state, version.asked_at = VersionState.DRAFT.value, None
    save_with_reason(version, actor=actor, reason=said)
    return version


@transaction.atomic
def decide_version(
    *, version_id: int, state: VersionState, seen: Words, at: datetime, actor: str, reason: str
) -> TemplateVersion:
    """Approve or refuse what another has drafted and asks for; the same decision by the same person again changes nothing.

    `seen` are the words that the person saw. Raises NotFound, SamePerson, and Conflict (code `outdated`) where it was decided, taken back, or says something else.
    """
    assert state.value in (VersionState.APPROVED, VersionState.REFUSED), "a version is approved or refused"
    said = checked_reason(reason=reason)
    version = _locked(version_id)
    if (version.state, version.decided_by) == (state.value, actor):
        return version
    if version.state != VersionState.ASKED:
        raise Conflict(f"it is {version.get_state_display().lower()} by now: look again", code="outdated")
    if version.words != seen:
        raise Conflict("it says something else by now: look again", code="outdated")
    if version.drafted_by.lower() == actor.lower():
        raise SamePerson(f"{actor} has drafted it: somebody else decides", field="actor")
    assert version.asked_at is not None, "what waits was asked for"
    version.state, version.decided_at = state.value, max(at, version.asked_at)
    version.decided_by, version.decision_reason = actor, said
    save_with_reason(version, actor=actor, reason=said)
    return version


def _template(*, kind: NoticeKind, language: str) -> NoticeTemplate:
    """Return the template, locked: versions of one template are made one after the other, so that their numbers have no gap."""
    NoticeTemplate.objects.get_or_create(kind=kind, language=language)
    return NoticeTemplate.objects.select_for_update().get(kind=kind, language=language)


def _new_version(template: NoticeTemplate, words: Words, **fields: object) -> TemplateVersion:
    last = template.versions.aggregate(number=Max("number"))["number"] or 0
    return _numbered(template, last + 1, words, **fields)


def _numbered(template: NoticeTemplate, number: int, words: Words, **fields: object) -> TemplateVersion:
    return TemplateVersion(
        template=template, number=number, subject=words.subject, body=words.body, button=words.button, **fields
    )


def _locked(version_id: int) -> TemplateVersion:
    version = (
        TemplateVersion.objects.select_for_update(of=("self",)).select_related("template").filter(pk=version_id).first()
    )
    if version is None:
        raise NotFound("there is no such version", field="version")
    return version


def _own(version_id: int, *, actor: str, state: VersionState, what: str) -> TemplateVersion:
    version = _locked(version_id)
    if version.drafted_by.lower() != actor.lower():
        raise Conflict(f"{version.drafted_by} has drafted it: draft a version of your own", field="actor")
    if version.state != state:
        raise Conflict(f"it is {version.get_state_display().lower()}: it cannot be {what}", code="outdated")
    return version


def _check(words: Words) -> None:
    mistakes: list[FieldError] = word_mistakes(words)
    if mistakes:
        raise InvalidFields(tuple(mistakes))
