"""Finance drafts, Legal approves: versions of templates, each with who, when and why; the newest approved is in force."""

import pytest
from pytest_django import DjangoAssertNumQueries

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput, NotFound
from dunning.core.built_in import BUILT_IN
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words
from dunning.notices.queries import version_in_force, versions_to_approve, words_for
from dunning.notices.template_operations import (
    SamePerson,
    ask_for_approval,
    change_draft,
    decide_version,
    draft_version,
    install_built_ins,
    take_back,
)
from dunning.notices.templates import HOUSE, NoticeTemplate, TemplateVersion, VersionState
from tests.dunning.notices.telling import NOW, PLAIN, approved

pytestmark = pytest.mark.django_db
OTHER = Words(subject="{total} please", body="Please pay {total} soon.\n\n{payment_link}", button="Pay")


def drafted(words: Words = PLAIN, *, actor: str = "fiona", language: str = "en") -> TemplateVersion:
    return draft_version(
        kind=NoticeKind.REMINDER, language=language, words=words, at=NOW, actor=actor, reason="our own tone"
    )


def asked(words: Words = PLAIN) -> TemplateVersion:
    return ask_for_approval(version_id=drafted(words).pk, at=NOW, actor="fiona", reason="please look")


def decided(
    version: TemplateVersion, *, state: VersionState = VersionState.APPROVED, actor: str = "lena"
) -> TemplateVersion:
    return decide_version(version_id=version.pk, state=state, seen=version.words, at=NOW, actor=actor, reason="fine")


def in_force(language: str = "en") -> TemplateVersion | None:
    return version_in_force(kind=NoticeKind.REMINDER, language=language)


def test_the_products_own_words_are_installed_once_and_stand_behind_those_of_the_house(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_max_num_queries(12):
        assert install_built_ins(at=NOW) == len(NoticeKind) * 2
    assert install_built_ins(at=NOW) == 0
    assert (found := in_force()) is not None
    assert (found.is_built_in, found.drafted_by, found.number) == (True, HOUSE, 1)

    own = approved(PLAIN)

    assert in_force() == own
    assert NoticeTemplate.objects.count() == len(NoticeKind) * 2


def test_words_that_came_with_a_later_release_do_not_stand_before_the_houses_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_built_ins(at=NOW)
    own = approved(PLAIN)
    monkeypatch.setitem(BUILT_IN["en"], NoticeKind.REMINDER, OTHER)
    monkeypatch.setitem(BUILT_IN["de"], NoticeKind.REMINDER, OTHER)

    assert install_built_ins(at=NOW) == 2

    assert in_force() == own
    assert (newest := in_force("de")) is not None
    assert (newest.words, newest.is_built_in, newest.number) == (OTHER, True, 2)


def test_where_a_language_has_no_words_it_is_english() -> None:
    own = approved(PLAIN)

    assert words_for(kind=NoticeKind.REMINDER, language="de") == own
    assert words_for(kind=NoticeKind.WARNING, language="de") is None


@pytest.mark.requirement("S2-023")
@pytest.mark.requirement("S2-029")
def test_a_draft_is_asked_for_and_another_approves_it() -> None:
    version = drafted()
    assert in_force() is None

    version = ask_for_approval(version_id=version.pk, at=NOW, actor="fiona", reason="please look")
    assert list(versions_to_approve()) == [version]
    with pytest.raises(SamePerson):
        decided(version, actor="Fiona")
    version = decided(version)

    assert in_force() == version
    assert (version.state, version.decided_by, version.decision_reason) == ("approved", "lena", "fine")
    assert [row.history_change_reason for row in version.history.order_by("history_id")] == [
        "fiona: our own tone",
        "fiona: please look",
        "lena: fine",
    ]


def test_the_newest_approved_words_are_in_force() -> None:
    decided(asked())
    second = decided(asked(OTHER))
    decided(asked(PLAIN), state=VersionState.REFUSED)

    assert in_force() == second
    assert second.number == 2


def test_the_same_decision_again_changes_nothing_another_is_refused() -> None:
    version = decided(asked())

    assert decided(version) == version
    with pytest.raises(Conflict):
        decided(version, state=VersionState.REFUSED)
    assert version.history.count() == 3


def test_who_decides_has_seen_what_is_decided() -> None:
    version = asked()

    with pytest.raises(Conflict, match="something else"):
        decide_version(
            version_id=version.pk, state=VersionState.APPROVED, seen=OTHER, at=NOW, actor="lena", reason="fine"
        )


def test_a_draft_is_changed_by_whoever_drafted_it_until_it_is_asked_for() -> None:
    version = drafted()

    with pytest.raises(Conflict, match="fiona has drafted it"):
        change_draft(version_id=version.pk, words=OTHER, actor="frank", reason="better")
    changed = change_draft(version_id=version.pk, words=OTHER, actor="fiona", reason="better")
    assert changed.words == OTHER
    ask_for_approval(version_id=version.pk, at=NOW, actor="fiona", reason="please look")
    with pytest.raises(Conflict):
        change_draft(version_id=version.pk, words=PLAIN, actor="fiona", reason="better still")
    take_back(version_id=version.pk, actor="fiona", reason="one more thought")
    assert change_draft(version_id=version.pk, words=PLAIN, actor="fiona", reason="better still").words == PLAIN


def test_what_is_decided_is_not_taken_back() -> None:
    version = decided(asked())

    with pytest.raises(Conflict):
        take_back(version_id=version.pk, actor="fiona", reason="after all")
    with pytest.raises(Conflict):
        ask_for_approval(version_id=version.pk, at=NOW, actor="fiona", reason="again")


def test_words_that_cannot_be_used_are_told_at_their_fields() -> None:
    with pytest.raises(InvalidFields) as refusal:
        drafted(Words(subject="Hi {name}", body="Pay!", button=""))

    assert {error.field for error in refusal.value.field_errors} == {"subject", "body", "button"}
    assert not NoticeTemplate.objects.exists()


def test_every_step_asks_for_a_reason_and_a_version_that_exists() -> None:
    version = drafted()

    with pytest.raises(InvalidInput):
        ask_for_approval(version_id=version.pk, at=NOW, actor="fiona", reason="  ")
    with pytest.raises(NotFound):
        ask_for_approval(version_id=version.pk + 1, at=NOW, actor="fiona", reason="please")
