"""Pages of notices in the back office: who may draft, approve, send again and lift; what stands where; nothing of a customer's is markup."""

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.queries import index_page
from billing_site.backoffice.responsibilities import Role
from billing_site.kernel.clock import now
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import BlockedAddress, MailEventKind, Notice
from dunning.notices.template_operations import ask_for_approval, draft_version, install_built_ins
from dunning.notices.templates import NoticeTemplate, TemplateVersion
from dunning.notices.tracking import record_event
from tests.billing_site.backoffice.conftest import AT, a_member
from tests.billing_site.backoffice.test_index import queue_named
from tests.dunning.notices.telling import NOW, PLAIN, an_open_invoice, planned, sent

pytestmark = pytest.mark.django_db


def page(name: str, *arguments: Any) -> str:
    return reverse(f"admin:dunning_{name}", args=arguments)


@pytest.fixture
def legal(db: Any) -> Client:
    return a_member("lena", Role.LEGAL)


@pytest.fixture
def asked(db: Any) -> TemplateVersion:
    version = draft_version(kind=NoticeKind.REMINDER, language="en", words=PLAIN, at=NOW, actor="fiona", reason="ours")
    return ask_for_approval(version_id=version.pk, at=NOW, actor="fiona", reason="please look")


@pytest.fixture
def lost(db: Any) -> Notice:
    return sent(planned(an_open_invoice(email="")))


def words(**changed: str) -> dict[str, str]:
    return {"subject": PLAIN.subject, "body": PLAIN.body, "button": PLAIN.button, "reason": "ours", **changed}


@pytest.mark.requirement("S2-029")
def test_finance_drafts_and_legal_does_not(finance: Client, legal: Client, support: Client) -> None:
    install_built_ins(at=NOW)
    template = NoticeTemplate.objects.get(kind=NoticeKind.REMINDER, language="en")
    editor = page("noticetemplate_draft", template.pk)

    assert [client.get(editor).status_code for client in (finance, legal, support)] == [200, 403, 403]
    answer = finance.post(editor, words(body=PLAIN.body.replace("\n", "\r\n")))

    version = TemplateVersion.objects.get(is_built_in=False)
    assert answer.headers["Location"] == page("templateversion_change", version.pk)
    assert (version.words, version.drafted_by, version.state) == (PLAIN, "fiona", "draft")


def test_words_that_cannot_be_used_are_told_beside_their_fields(finance: Client) -> None:
    install_built_ins(at=NOW)
    editor = page("noticetemplate_draft", NoticeTemplate.objects.get(kind=NoticeKind.REMINDER, language="en").pk)

    answer = finance.post(editor, words(subject="Hi {nobody}", body="Pay!"))

    form = answer.context["form"]
    assert "{nobody} is not known" in form.errors["subject"][0]
    assert any("{payment_link}" in error for error in form.errors["body"])
    assert not TemplateVersion.objects.filter(is_built_in=False).exists()


@pytest.mark.requirement("S2-029")
def test_legal_approves_what_finance_asks_for_and_nobody_else_does(
    finance: Client, legal: Client, support: Client, asked: TemplateVersion
) -> None:
    approve = page("templateversion_approve", asked.pk)

    assert [client.get(approve).status_code for client in (finance, support)] == [403, 403]
    assert queue_named(index_page(at=AT), "Templates to approve").count == 1
    assert "please look" in legal.get(page("templateversion_change", asked.pk)).content.decode(), "why it was asked for"
    legal.post(approve, {"reason": "kind and exact"})

    asked.refresh_from_db()
    assert (asked.state, asked.decided_by, asked.decision_reason) == ("approved", "lena", "kind and exact")
    assert queue_named(index_page(at=AT), "Templates to approve").count == 0


def test_legal_sees_what_differs_from_what_is_in_force(legal: Client) -> None:
    install_built_ins(at=NOW)
    told = NoticeTemplate.objects.get(kind=NoticeKind.REMINDER, language="en").versions.get().words
    new = replace(told, subject=f"Kindly {told.subject}", button="<b>Pay</b>")
    version = draft_version(kind=NoticeKind.REMINDER, language="en", words=new, at=NOW, actor="fiona", reason="ours")

    shown = legal.get(page("templateversion_change", version.pk)).content.decode()

    assert "<ins>Kindly </ins>" in shown and "<ins>&lt;b&gt;Pay&lt;/b&gt;</ins>" in shown
    assert "The day of the next step" in shown and "is an example" in shown


def test_who_drafted_does_not_approve_whatever_else_he_may(administrator: Client) -> None:
    version = draft_version(kind=NoticeKind.REMINDER, language="en", words=PLAIN, at=NOW, actor="root", reason="ours")
    ask_for_approval(version_id=version.pk, at=NOW, actor="root", reason="please look")

    shown = administrator.get(page("templateversion_change", version.pk))
    answer = administrator.post(page("templateversion_approve", version.pk), {"reason": "mine"}, follow=True)

    assert not shown.context["may_decide"]
    assert "somebody else decides" in answer.content.decode()
    version.refresh_from_db()
    assert version.state == "asked"


def test_a_preview_shows_a_customers_figures_and_a_name_as_text(finance: Client, mailoutbox: list[Any]) -> None:
    install_built_ins(at=NOW)
    invoice = an_open_invoice(name='<script>alert("x")</script>"><img src=x>')
    template = NoticeTemplate.objects.get(kind=NoticeKind.REMINDER, language="en")

    answer = finance.post(
        page("noticetemplate_preview", template.pk),
        words(body="Hello {customer}, pay {total}.\n\n{payment_link}", customer=str(invoice.customer_id)),
    )

    text = answer.content.decode()
    assert "USD 120.00" in text
    assert "<script" not in text
    assert "<img" not in text
    # Once for the attribute, once for the mail inside of it.
    assert "&amp;lt;script&amp;gt;" in text
    assert 'sandbox=""' in text
    assert mailoutbox == []
    assert not TemplateVersion.objects.filter(is_built_in=False).exists()


def test_a_notice_that_was_not_delivered_is_sent_again_or_dropped_by_finance(
    finance: Client, support: Client, lost: Notice
) -> None:
    assert support.get(page("notice_change", lost.pk)).status_code == 200
    assert support.get(page("notice_send_again", lost.pk)).status_code == 403
    queue = queue_named(index_page(at=AT), "Notices not delivered")
    assert (queue.count, queue.why) == (1, "the customer has no e-mail address")

    finance.post(page("notice_send_again", lost.pk), {"reason": "entered their address"})
    lost.refresh_from_db()
    assert lost.state == "planned"

    sent(lost)
    finance.post(page("notice_drop", lost.pk), {"reason": "told by phone"})
    lost.refresh_from_db()
    assert (lost.state, lost.why) == ("not_needed", "fiona: told by phone")
    changes = finance.get(reverse("admin:backoffice_changes"), {"model": "dunning.noticedecision"})
    assert [(one.actor, one.reason) for one in changes.context["changes"]] == [
        ("fiona", "told by phone"),
        ("fiona", "entered their address"),
    ]


def test_a_notice_in_doubt_is_listed_and_somebody_says_what_is_known(
    finance: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(**_: Any) -> None:
        raise KeyboardInterrupt

    notice = planned(an_open_invoice())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dunning.notices.sending.hand_over", die)
        sent(notice)

    assert queue_named(index_page(at=now()), "Notices that may have been sent").count == 1
    listed = finance.get(page("notice_changelist"), {"state": "doubt"}).content.decode()
    assert "nobody knows whether it was sent" in listed
    finance.post(page("notice_was_sent", notice.pk), {"reason": "the log of the provider has it"})

    notice.refresh_from_db()
    assert notice.state == "sent"


def test_an_address_is_written_to_again_once_somebody_says_why(finance: Client, support: Client) -> None:
    notice = sent(planned(an_open_invoice()))
    record_event(
        kind=MailEventKind.COMPLAINT,
        address=notice.to_address,
        provider_id="",
        notice_key=str(notice.pk),
        named="test",
        said="",
        occurred_at=NOW,
    )
    block = BlockedAddress.objects.get()
    lift = page("blockedaddress_lift", block.pk)

    assert support.get(lift).status_code == 403
    assert queue_named(index_page(at=AT), "Addresses that are not written to").why == "ap@acme.example"
    assert "Acme GmbH" in finance.get(page("blockedaddress_change", block.pk)).content.decode()
    finance.post(lift, {"reason": " "})
    assert BlockedAddress.objects.get().lifted_at is None
    finance.post(lift, {"reason": "a mistake of theirs"})
    block.refresh_from_db()
    assert (block.lifted_by, block.reason) == ("fiona", "a mistake of theirs")


def test_notices_are_found_by_customer_invoice_and_address(finance: Client) -> None:
    invoice = an_open_invoice()
    sent(planned(invoice))

    for asked_for in ("Acme", "cust_acme", "ap@acme", invoice.number, "case 1"):
        found = finance.get(page("notice_changelist"), {"q": asked_for})
        assert found.context["cl"].result_count == 1, asked_for
    assert finance.get(page("notice_changelist"), {"q": "nobody"}).context["cl"].result_count == 0


def test_the_log_shows_word_by_word_what_was_sent(support: Client) -> None:
    notice = sent(planned(an_open_invoice()))

    shown = support.get(page("notice_change", notice.pk))

    assert "Please pay USD 120.00, due on 15 July 2026." in shown.content.decode()
    assert shown.context["question"] == ""
    assert not shown.context["may_send_again"]
