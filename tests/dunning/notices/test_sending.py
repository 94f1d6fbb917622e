"""A notice is planned once and sent at most once, after the invoices were read again; what stands in the way is listed with its reason."""

import smtplib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import IntegrityError, transaction
from django_q.models import OrmQ
from moneyed import Money

from billing_site.kernel.errors import Conflict, InvalidInput
from dunning import tasks
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words
from dunning.notices.decisions import drop_notice, say_it_was_sent, send_again
from dunning.notices.models import Notice, NoticeDecision
from dunning.notices.outbox import plan_notice, sweep_notices
from dunning.notices.queries import maybe_sent, undelivered
from invoicing.invoices.models import Invoice, Objection
from invoicing.payments.patience import GAPS
from invoicing.payments.remote import GatewayUnavailable
from invoicing.workflows.verify import verify
from tests.dunning.notices.telling import ACTS_ON, NOW, PLAIN, an_open_invoice, another_invoice, approved, planned, sent
from tests.invoicing.selling import paid

pytestmark = pytest.mark.django_db


class ServerThatFails(EmailBackend):
    """Takes nothing, or dies, as told."""

    problem: Exception | None = None

    def send_messages(self, messages: Any) -> int:
        if self.problem is not None:
            raise self.problem
        return super().send_messages(messages)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ServerThatFails]]:
    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend", ServerThatFails)
    ServerThatFails.problem = None
    yield ServerThatFails
    ServerThatFails.problem = None


def queued() -> list[tuple[str, Any]]:
    return [(row.task["func"], row.task["args"]) for row in OrmQ.objects.order_by("id")]


@pytest.mark.requirement("S2-021")
def test_a_notice_is_sent_with_its_content_kept_as_it_was_sent() -> None:
    invoice = an_open_invoice()

    notice = sent(planned(invoice))

    [message] = mail.outbox
    assert (notice.state, notice.settled_at) == ("sent", NOW)
    assert message.subject == notice.subject == "Reminder: USD 120.00 is open, due 15 July 2026"
    assert message.body == notice.text
    assert message.alternatives[0][0] == notice.html
    assert message.to == [notice.to_address] == ["ap@acme.example"]
    assert message.from_email == notice.from_address == "Example Inference GmbH <billing@example.com>"
    assert message.extra_headers["Message-ID"] == notice.message_id
    assert notice.template_version is not None
    assert notice.template_version.is_built_in
    assert notice.told == {
        "total": "120.00",
        "currency": "USD",
        "invoices": [{"number": invoice.number, "due_date": "2026-07-15", "amount": "120.00"}],
    }
    assert verify() == []


def test_the_same_reference_again_returns_the_first_and_queues_nothing() -> None:
    invoice = an_open_invoice()

    first, again = planned(invoice), planned(invoice, kind=NoticeKind.FINAL_NOTICE, at=NOW + timedelta(days=1))

    assert first.pk == again.pk
    assert again.kind == NoticeKind.REMINDER
    assert queued().count(("dunning.tasks.send_notice", (first.pk,))) == 1


def test_a_notice_vanishes_with_the_transaction_that_planned_it() -> None:
    invoice = an_open_invoice()
    before = len(queued())

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        plan_notice(
            customer=invoice.customer,
            kind=NoticeKind.REMINDER,
            reference="r",
            invoice_ids=[invoice.pk],
            acts_on=None,
            at=NOW,
        )
        raise ZeroDivisionError

    assert not Notice.objects.exists()
    assert len(queued()) == before


def test_a_notice_is_not_about_somebody_elses_invoice() -> None:
    mine, theirs = an_open_invoice(), an_open_invoice("cust_other")

    with pytest.raises(IntegrityError, match="another customer"):
        planned(mine, theirs)


def test_the_job_sends_once_however_often_it_runs() -> None:
    notice = planned(an_open_invoice())

    assert [tasks.send_notice(notice.pk) for _ in range(3)] == ["sent"] * 3

    assert len(mail.outbox) == 1


@pytest.mark.requirement("S1-044")
def test_who_pays_between_the_plan_and_the_mail_gets_none() -> None:
    invoice = an_open_invoice()
    notice = planned(invoice)
    paid(invoice, at=NOW)

    notice = sent(notice)

    assert mail.outbox == []
    assert (notice.state, notice.why) == ("not_needed", f"{invoice.number} was paid before it was sent")


def test_who_pays_a_part_is_told_what_is_open() -> None:
    invoice = an_open_invoice()
    notice = planned(invoice)
    paid(invoice, "100", at=NOW)

    sent(notice)

    assert mail.outbox[0].subject == "Reminder: USD 20.00 is open, due 15 July 2026"


def test_of_several_invoices_only_those_that_are_open_are_told() -> None:
    first = an_open_invoice()
    second = another_invoice(first.customer)
    notice = planned(first, second)
    paid(first, at=NOW)

    notice = sent(notice)

    assert first.number not in mail.outbox[0].body
    assert notice.told is not None
    assert notice.told["total"] == "30.00"


def an_objection(invoice: Invoice, amount: str) -> None:
    Objection.objects.create(
        invoice=invoice, amount=Money(amount, "USD"), currency="USD", opened_at=NOW, actor="test", reason="not ours"
    )


def test_what_the_customer_objects_to_is_not_asked_for() -> None:
    invoice = an_open_invoice()
    part, whole = planned(invoice), planned(invoice, reference="later")
    an_objection(invoice, "100")

    assert (told := sent(part).told) is not None
    assert told["total"] == "20.00"
    Objection.objects.update(ended_at=NOW, ended_by="test", ended_because="another amount")
    an_objection(invoice, "120")
    whole = sent(whole)
    assert (whole.state, whole.why) == (
        "not_needed",
        f"what is open of {invoice.number} was objected to before it was sent",
    )


def test_that_service_is_restored_is_told_of_what_was_paid() -> None:
    invoice = an_open_invoice()
    paid(invoice, at=NOW)

    sent(planned(invoice, kind=NoticeKind.RESTORED))

    assert mail.outbox[0].subject == "Thank you: USD 120.00 is settled, and your service is back"


def test_words_come_in_the_customers_language_and_from_the_newest_approved_version() -> None:
    own = Words(subject="Nur {total}", body="Bitte {total}.\n\n{payment_link}", button="Zahlen")
    german = approved(own, language="de")
    approved(PLAIN, kind=NoticeKind.WARNING, language="en")

    sent(planned(an_open_invoice(language="de")))
    sent(planned(an_open_invoice("cust_two"), reference="two"))

    assert [message.subject for message in mail.outbox] == [
        "Nur 120,00 USD",
        "Reminder: USD 120.00 is open, due 15 July 2026",
    ]
    assert Notice.objects.get(reference="case 1, step 1").template_version == german


def test_the_link_opens_the_portal_at_the_invoice(client: Any) -> None:
    invoice = an_open_invoice()
    notice = sent(planned(invoice))
    [link] = [line for line in notice.text.splitlines() if line.startswith("http")]

    answer = client.get(link.partition("8000")[2], follow=True)

    assert answer.redirect_chain == [(f"/portal/invoices/{invoice.number}/", 302)]
    assert answer.status_code == 200


def test_who_has_no_address_stands_in_a_list_with_the_reason() -> None:
    notice = sent(planned(an_open_invoice(email="")))

    assert (notice.state, notice.why) == ("undeliverable", "the customer has no e-mail address")
    assert list(undelivered(at=NOW)) == [notice]


def test_what_stripe_keeps_waiting_for_a_day_stands_in_the_list_too_until_it_is_dropped(monkeypatch) -> None:
    def fails(*, invoice: Invoice) -> None:
        raise GatewayUnavailable(f"Stripe answers 500 for {invoice}")

    monkeypatch.setattr("dunning.notices.sending.hosted_page", fails)
    notice, later = planned(an_open_invoice()), NOW + timedelta(days=1)
    for at in (NOW, later):
        assert sent(notice, at=at).state == "planned"

    assert list(undelivered(at=later - timedelta(hours=1))) == []
    assert list(undelivered(at=later)) == [notice]
    dropped = drop_notice(notice_id=notice.pk, at=later, actor="fiona", reason="told by phone")
    assert (dropped.state, list(undelivered(at=later))) == ("not_needed", [])


def test_a_refusal_is_tried_again_with_growing_gaps_and_then_listed(server: type[ServerThatFails]) -> None:
    server.problem = smtplib.SMTPDataError(451, b"greylisted")
    notice, at = planned(an_open_invoice()), NOW
    waits = []

    while (notice := sent(notice, at=at)).state == "planned":
        waits.append(notice.next_attempt_at - at)
        at = notice.next_attempt_at

    assert all(gap <= wait <= gap * 2 for gap, wait in zip(GAPS, waits, strict=True))
    assert notice.state == "undeliverable"
    assert "greylisted" in notice.why
    assert notice.events.filter(kind="refused").count() == len(GAPS) + 1
    server.problem = None
    send_again(notice_id=notice.pk, at=at, actor="fiona", reason="the server is back")
    assert sent(notice, at=at).state == "sent"


def test_between_two_attempts_the_figures_are_read_again(server: type[ServerThatFails]) -> None:
    invoice = an_open_invoice()
    server.problem = smtplib.SMTPDataError(451, b"greylisted")
    notice = sent(planned(invoice))
    server.problem = None
    paid(invoice, "50", at=NOW)

    notice = sent(notice, at=NOW + timedelta(minutes=1))

    assert (notice.state, notice.told and notice.told["total"]) == ("sent", "70.00")


def test_an_address_that_the_server_refuses_for_good_is_not_tried_again(server: type[ServerThatFails]) -> None:
    server.problem = smtplib.SMTPRecipientsRefused({"ap@acme.example": (550, b"no such user")})

    notice = sent(planned(an_open_invoice()))

    assert notice.state == "undeliverable"
    assert "no such user" in notice.why


@pytest.mark.parametrize("problem", [smtplib.SMTPServerDisconnected("gone"), TimeoutError("timed out")])
def test_what_breaks_while_it_is_sent_is_never_sent_a_second_time_by_itself(
    server: type[ServerThatFails], problem: Exception
) -> None:
    server.problem = problem
    notice = sent(planned(an_open_invoice()))
    server.problem = None

    assert notice.state == "sending"
    assert list(maybe_sent(at=NOW)) == [notice]
    assert sweep_notices(at=NOW + timedelta(days=1)) == 0
    assert sent(notice, at=NOW + timedelta(days=1)).state == "sending"
    assert mail.outbox == []


def test_a_worker_that_dies_between_sending_and_sent_leaves_a_notice_of_which_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    notice = planned(an_open_invoice())

    def die(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dunning.notices.sending.hand_over", die)
        sent(notice)

    assert sent(notice, at=NOW + timedelta(hours=1)).state == "sending"
    assert list(maybe_sent(at=NOW + timedelta(minutes=9))) == []
    assert list(maybe_sent(at=NOW + timedelta(minutes=10))) == [notice]
    assert mail.outbox == []


@pytest.fixture
def in_doubt(server: type[ServerThatFails]) -> Notice:
    server.problem = TimeoutError("timed out")
    notice = sent(planned(an_open_invoice()))
    server.problem = None
    return notice


def test_somebody_says_that_it_was_sent(in_doubt: Notice) -> None:
    say_it_was_sent(notice_id=in_doubt.pk, at=NOW, actor="fiona", reason="the provider's log shows it")

    assert Notice.objects.get().state == "sent"
    assert NoticeDecision.objects.get().reason == "the provider's log shows it"
    assert mail.outbox == []


def test_somebody_lets_it_be_sent_again_under_the_same_message_id(in_doubt: Notice) -> None:
    before = in_doubt.message_id

    send_again(notice_id=in_doubt.pk, at=NOW, actor="fiona", reason="the provider knows nothing of it")

    assert sent(in_doubt).state == "sent"
    assert mail.outbox[0].extra_headers["Message-ID"] == before


def test_somebody_drops_it(in_doubt: Notice) -> None:
    with pytest.raises(InvalidInput):
        drop_notice(notice_id=in_doubt.pk, at=NOW, actor="fiona", reason=" ")

    notice = drop_notice(notice_id=in_doubt.pk, at=NOW, actor="fiona", reason="agreed by phone")

    assert (notice.state, notice.why) == ("not_needed", "fiona: agreed by phone")
    with pytest.raises(Conflict):
        send_again(notice_id=in_doubt.pk, at=NOW, actor="fiona", reason="after all")


def test_nothing_is_decided_about_a_notice_that_waits_for_nobody() -> None:
    notice = sent(planned(an_open_invoice()))

    for decide in (say_it_was_sent, send_again, drop_notice):
        with pytest.raises(Conflict):
            decide(notice_id=notice.pk, at=NOW, actor="fiona", reason="why not")


def test_the_sweep_finds_what_a_lost_job_left_behind() -> None:
    notice = planned(an_open_invoice())
    OrmQ.objects.all().delete()

    assert sweep_notices(at=NOW) == 0
    assert sweep_notices(at=NOW + timedelta(minutes=2)) == 1
    assert queued() == [("dunning.tasks.send_notice", (notice.pk,))]


def test_names_cannot_smuggle_headers_into_a_mail() -> None:
    evil = 'Evil"\r\nBcc: everybody@example.com <x@example.com>, '
    notice = sent(planned(an_open_invoice(name=evil)))

    [message] = mail.outbox
    raw = message.message().as_string()

    assert notice.state == "sent"
    assert "\nBcc:" not in raw
    assert message.recipients() == ["ap@acme.example"]


def test_replies_go_to_the_seller_where_mail_is_sent_from_elsewhere(settings: Any) -> None:
    settings.MAIL_FROM = "no-reply@mail.example.net"

    sent(planned(an_open_invoice()))

    [message] = mail.outbox
    assert message.from_email == "Example Inference GmbH <no-reply@mail.example.net>"
    assert message.reply_to == ["billing@example.com"]
    assert message.extra_headers["Message-ID"].endswith("@mail.example.net>")


def test_a_notice_says_the_day_of_the_next_step() -> None:
    notice = sent(planned(an_open_invoice(), acts_on=ACTS_ON))

    assert "Please pay before 8 September 2026" in notice.text
