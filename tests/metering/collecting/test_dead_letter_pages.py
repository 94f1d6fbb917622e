"""Staff see dead letters with their content, and settle them after a page that says what would become of them."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.roles import FINANCE, SUPPORT, ensure_roles
from metering.collecting.models import Collector, DeadLetter, Shape
from metering.collecting.queries import waiting_letters
from metering.collecting.replay import dismiss_dead_letters
from metering.models import UsageEvent
from tests.metering.collecting.test_dead_letters import AT, EVENT, a_letter

pytestmark = pytest.mark.django_db

LIST = "/admin/metering/deadletter/"


def member(group: str) -> Client:
    ensure_roles()
    person = User.objects.create_user(group.lower(), is_staff=True)
    person.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def finance() -> Client:
    return member(FINANCE)


def page(letter: DeadLetter, name: str = "change") -> str:
    return reverse(f"admin:metering_deadletter_{name}", args=[letter.pk])


def selection(action: str, *letters: DeadLetter, **more: Any) -> dict[str, Any]:
    return {"action": action, "_selected_action": [letter.pk for letter in letters], **more}


def text(response: Any) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_where_it_came_from_what_is_wrong_and_how_it_begins(finance: Client) -> None:
    a_letter(EVENT | {"quantity": "much"})

    listed = text(finance.get(LIST))

    assert "usage/0, offset 7" in listed and "cannot be read" in listed and "malformed" in listed
    assert "waiting" in listed


@pytest.mark.parametrize("term", ["usage/0", "cannot be", "much ado", "Müller", "back\\slash"])
def test_letters_are_found_by_name_reason_and_content(finance: Client, term: str) -> None:
    a_letter('{"a": "much ado", "b": "Müller", "c": "back\\slash"}'.encode())

    assert "usage/0, offset 7" in text(finance.get(LIST, {"q": term}))
    assert "usage/0, offset 7" not in text(finance.get(LIST, {"q": f"{term}x"}))


@pytest.mark.parametrize(
    ("query", "is_listed"),
    [
        ("state=waiting", True),
        ("state=dismissed", False),
        ("source=usage/0", True),
        ("source=other", False),
        ("code=malformed", True),
        ("collector__exact=file", False),
    ],
)
def test_letters_are_filtered_by_state_source_code_and_collector(finance: Client, query: str, is_listed: bool) -> None:
    a_letter(EVENT)

    assert ("usage/0, offset 7" in text(finance.get(f"{LIST}?{query}"))) == is_listed


def test_the_index_counts_what_waits_and_names_the_sources(finance: Client) -> None:
    letters = [a_letter(EVENT), a_letter(EVENT, position=8), a_letter(EVENT, collector=Collector.FILE)]
    dismiss_dead_letters(ids=[letters[0].pk], at=AT, actor="alice", reason="test")

    waiting = waiting_letters()

    assert (waiting.count, waiting.sources) == (2, ("usage.csv", "usage/0"))
    assert "usage.csv, usage/0" in text(finance.get("/admin/"))


def test_a_letter_shows_its_content_with_every_digit_and_how_it_is_read(finance: Client) -> None:
    letter = a_letter(b'{"n":1.10,"big":12345678901234567890}', preset="lago", rules=("quantity=n",))

    shown = text(finance.get(page(letter)))

    assert "&quot;n&quot;: 1.10" in shown and "12345678901234567890" in shown
    assert "--preset lago, --map quantity=n" in shown


@pytest.mark.parametrize("content", [b"\xff\x00\xfe", b"", b"[" * 5_000])
def test_content_that_is_no_text_is_shown_all_the_same(finance: Client, content: bytes) -> None:
    letter = a_letter(content)

    text(finance.get(page(letter)))
    text(finance.get(LIST))
    text(finance.get(page(letter, "correct")))


def test_a_replay_says_its_effect_in_numbers_first_and_asks_why(finance: Client) -> None:
    letters = [a_letter(EVENT), a_letter(EVENT, position=8), a_letter(b"{", position=9)]

    asked = text(finance.post(LIST, selection("replay_selected", *letters)))
    silent = text(finance.post(LIST, selection("replay_selected", *letters, confirmed="1", reason=" ")))

    assert "Of 3 letters: 1 accepted as new, 1 accepted before, 1 refused again." in asked
    assert "usage/0, offset 9 stays" in asked
    assert "This field is required" in silent
    assert not UsageEvent.objects.exists()


def test_a_replay_ends_on_a_page_that_lists_each(finance: Client) -> None:
    letters = [a_letter(EVENT), a_letter(b"{", position=9)]

    done = text(finance.post(LIST, selection("replay_selected", *letters, confirmed="1", reason="mended")))

    assert "1 accepted as new, 1 refused again" in done and "cust_acme" in done
    letter = DeadLetter.objects.get(pk=letters[0].pk)
    assert (letter.outcome, letter.settled_by, letter.settlement_reason) == ("accepted", "finance", "mended")
    assert "k1" in text(finance.get(page(letter)))


def test_one_letter_is_replayed_from_its_page(finance: Client) -> None:
    letter = a_letter(EVENT)

    assert "1 accepted as new" in text(finance.get(page(letter, "replay")))
    finance.post(page(letter, "replay"), {"reason": "mended"})
    again = finance.post(page(letter, "replay"), {"reason": "mended"}, follow=True)

    assert UsageEvent.objects.count() == 1
    assert "This letter is settled: accepted by finance." in text(again)


def test_a_correction_begins_with_the_content_and_tells_what_is_still_wrong(finance: Client) -> None:
    letter = a_letter(EVENT | {"quantity": "much"})

    asked = text(finance.get(page(letter, "correct")))
    wrong = text(finance.post(page(letter, "correct"), {"document": '{"event_id": 1}', "reason": "typo"}))
    document = json.dumps(EVENT | {"quantity": "2"})
    done = text(finance.post(page(letter, "correct"), {"document": document, "reason": "typo"}))

    assert "much" in asked and "is required" in wrong and "1 accepted as new" in done
    assert UsageEvent.objects.get().quantity == 2
    assert "Read in its place" in text(finance.get(page(letter)))


def test_dismissing_says_that_it_will_never_count_and_keeps_the_content(finance: Client) -> None:
    letters = [a_letter(EVENT), a_letter(b"{", position=9)]

    asked = text(finance.post(LIST, selection("dismiss_selected", *letters)))
    finance.post(LIST, selection("dismiss_selected", *letters, confirmed="1", reason="test traffic"))

    assert "2 letters will never be counted" in asked
    assert set(DeadLetter.objects.values_list("outcome", "settlement_reason")) == {("dismissed", "test traffic")}


def test_the_rest_of_a_file_is_dismissed_and_not_corrected(finance: Client) -> None:
    letter = a_letter(b"", shape=Shape.FILE, collector=Collector.FILE)

    told = text(finance.get(page(letter, "correct"), follow=True))
    finance.post(page(letter, "dismiss"), {"reason": "sent again"})

    assert "put the mended file into the folder" in told
    letter.refresh_from_db()
    assert letter.outcome == "dismissed"


@pytest.mark.parametrize("name", ["replay", "correct", "dismiss"])
def test_support_looks_and_settles_nothing(name: str) -> None:
    letter, support = a_letter(EVENT), member(SUPPORT)

    assert support.get(page(letter)).status_code == 200
    assert support.post(page(letter, name), {"reason": "r", "document": "{}"}).status_code == 403
    support.post(LIST, selection("replay_selected", letter, confirmed="1", reason="r"))

    letter.refresh_from_db()
    assert letter.outcome == ""
