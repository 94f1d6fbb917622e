"""Staff's words are filled in, never run: unknown placeholders are named, what a notice needs is asked for."""

from pathlib import Path

import pytest

from billing_site.kernel.errors import FieldError
from dunning.core.built_in import BUILT_IN
from dunning.core.built_in.page import notices_page
from dunning.core.mail_words import MAIL_WORDS
from dunning.core.notice_kinds import KIND_WORDS, NoticeKind
from dunning.core.wording import BlockKind, Words, filled_blocks, filled_line, one_line, word_mistakes
from invoicing.core.languages import LANGUAGES
from tests.dunning.notices.telling import PLAIN

ROOT = Path(__file__).parents[3]
VALUES = {"customer": "Acme", "seller": "We", "total": "EUR 12.00", "due_date": "1 July 2026"}


def mistakes(**changed: str) -> list[str]:
    words = Words(**({"subject": PLAIN.subject, "body": PLAIN.body, "button": PLAIN.button} | changed))
    return [f"{error.field}: {error.message}" for error in word_mistakes(words)]


@pytest.mark.requirement("S2-023")
def test_every_kind_has_built_in_words_in_every_language_that_can_be_used() -> None:
    assert set(BUILT_IN) == set(LANGUAGES) == set(MAIL_WORDS)
    for language, kinds in BUILT_IN.items():
        assert set(kinds) == set(NoticeKind) == set(KIND_WORDS), language
        assert {kind: word_mistakes(words) for kind, words in kinds.items() if word_mistakes(words)} == {}
    assert MAIL_WORDS["en"].keys() == MAIL_WORDS["de"].keys()


@pytest.mark.requirement("S2-023")
def test_the_page_of_templates_and_escalation_paths_is_what_the_code_says() -> None:
    assert (ROOT / "docs/notices.md").read_text() == notices_page(), "manage.py notices > docs/notices.md"


def test_the_first_sentence_of_built_in_words_says_what_to_do_and_how_much() -> None:
    for kinds in BUILT_IN.values():
        for kind, words in kinds.items():
            assert "{total}" in words.subject
            amount = "{instalment}" if kind is NoticeKind.INSTALMENT_DUE else "{total}"
            assert amount in words.body.split("\n\n")[0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("Pay {totl}.\n\n{total}\n\n{payment_link}", "{totl} is not known"),
        ("Pay {total}.\n\n{customer.password}\n\n{payment_link}", "{customer.password} is not known"),
        ("Pay {total!r}.\n\n{total}\n\n{payment_link}", "{total!r} is not known"),
        ("Pay {total}.\n\n{% load secrets %}\n\n{payment_link}", "{% load secrets %} is not known"),
        ("Pay {total}.\n\n{{ settings }}\n\n{payment_link}", "{ settings } is not known"),
        ("Pay {total}. }\n\n{payment_link}", "a brace that belongs to no placeholder"),
        ("Pay {total}.\n\n{payment_link", "a brace that belongs to no placeholder"),
        ("Pay.\n\n{payment_link}", "must say {total}"),
        ("Pay {total}.", "must say {payment_link}"),
        ("Pay {total} at {payment_link}.", "must be a paragraph of its own"),
        ("Pay {total}.\n\n{payment_link}\n\n{payment_link}", "more than once"),
        ("   ", "must not be empty"),
        ("{total}\n\n{payment_link}\n\n" + "x" * 5000, "at most 5000 characters"),
        ("{total}\n\n{payment_link}\n\nx\x00y", "cannot be stored"),
    ],
)
def test_words_that_cannot_be_used_are_refused_by_what_is_wrong_with_them(body: str, told: str) -> None:
    assert any(told in mistake for mistake in mistakes(body=body)), mistakes(body=body)


@pytest.mark.parametrize(
    ("subject", "told"),
    [
        ("{payment_link}", "subject: {payment_link} does not stand here"),
        ("{acts_on}", "subject: {acts_on} does not stand here"),
        ("Pay\nBcc: everybody@example.com", "subject: must be one line"),
        ("", "subject: must not be empty"),
    ],
)
def test_the_subject_is_one_line_that_always_holds(subject: str, told: str) -> None:
    assert any(mistake.startswith(told) for mistake in mistakes(subject=subject)), mistakes(subject=subject)


def test_what_is_right_has_no_mistake() -> None:
    assert word_mistakes(PLAIN) == []
    assert FieldError("a", "b", "c") not in word_mistakes(PLAIN)


def test_what_is_filled_in_is_not_read_again() -> None:
    line = filled_line("To {customer}", VALUES | {"customer": "{total} {payment_link}"})

    assert line == "To {total} {payment_link}"


def test_a_name_ends_no_line_of_the_subject_and_turns_nothing_around() -> None:
    line = filled_line("To {customer}", VALUES | {"customer": "Evil\r\nBcc: all@example.com\u202e\x07 Ltd\u2028x"})

    assert line == "To Evil Bcc: all@example.com Ltd x"
    assert one_line("a\tb\x00c") == "a bc"


def test_a_paragraph_about_the_next_step_is_left_out_where_no_day_is_fixed() -> None:
    body = "Pay {total}.\n\n{payment_link}\n\nOn {acts_on} it ends.\n\n\n{invoices}\n\nBye\n{seller}"

    without = filled_blocks(body, VALUES)
    fixed = filled_blocks(body, VALUES | {"acts_on": "8 September 2026"})

    assert [block.text for block in without] == ["Pay EUR 12.00.", "", "", "Bye\nWe"]
    assert [block.kind for block in fixed][:3] == [BlockKind.TEXT, BlockKind.BUTTON, BlockKind.TEXT]
    assert fixed[2].text == "On 8 September 2026 it ends."
