"""What was arranged between the planning of a notice and its sending counts, and a day that is over is not threatened with."""

from datetime import timedelta

import pytest

from dunning.arrangements.operations import hold_dunning
from dunning.core.notice_kinds import NoticeKind
from tests.dunning.notices.telling import NOW, an_open_invoice, planned, sent

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("kind", "state"), [(NoticeKind.WARNING, "not_needed"), (NoticeKind.SUSPENDED, "sent")])
def test_who_is_held_meanwhile_is_asked_for_nothing_and_told_what_was_done(kind: NoticeKind, state: str) -> None:
    invoice = an_open_invoice(email="ap@acme.example")
    notice = planned(invoice, kind=kind)
    hold_dunning(customer=invoice.customer, kind="legal", until=None, at=NOW, actor="ann", reason="their lawyer called")

    assert sent(notice, at=NOW).state == state


def test_a_mail_that_was_late_names_no_day_that_is_over() -> None:
    first, second = (
        planned(an_open_invoice(key, email="ap@acme.example"), reference=key) for key in ("cust_a", "cust_b")
    )

    on_its_day = sent(first, at=NOW + timedelta(days=7)).text
    late = sent(second, at=NOW + timedelta(days=8)).text

    assert len(late.splitlines()) < len(on_its_day.splitlines()), "a paragraph is left out"
