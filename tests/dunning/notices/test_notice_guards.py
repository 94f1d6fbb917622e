"""Raw SQL against the guards of notices: nothing unapproved is sent, what was sent stays, and nothing is sent twice."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from dunning.core.notice_kinds import NoticeKind
from dunning.notices.decisions import drop_notice
from dunning.notices.models import MailEventKind
from dunning.notices.template_operations import draft_version
from dunning.notices.tracking import record_event
from invoicing.evidence.chain import extend_chain
from invoicing.workflows.verify import verify
from tests.dunning.notices.telling import NOW, PLAIN, an_open_invoice, approved, planned, sent
from tests.invoicing.test_attack_guards import behind_the_triggers

pytestmark = pytest.mark.django_db


def run_sql(statement: str, *parameters: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dunning_notice SET subject = 'something else'",
        "UPDATE dunning_notice SET text = '', html = ''",
        "UPDATE dunning_notice SET told = NULL",
        "UPDATE dunning_notice SET to_address = 'other@example.com'",
        "UPDATE dunning_notice SET state = 'planned'",
        "UPDATE dunning_notice SET state = 'sending'",
        "UPDATE dunning_notice SET state = 'not_needed', why = 'never happened'",
        "UPDATE dunning_notice SET settled_at = now()",
        "UPDATE dunning_notice SET reference = 'another'",
        "UPDATE dunning_notice SET id = id + 1000",
        "DELETE FROM dunning_noticeinvoice",
        "DELETE FROM dunning_notice",
        "TRUNCATE dunning_notice CASCADE",
        "INSERT INTO dunning_notice SELECT * FROM dunning_notice ON CONFLICT (id) DO UPDATE SET text = 'x'",
        "UPDATE dunning_templateversion SET body = 'Pay at once!'",
        "UPDATE dunning_templateversion SET decided_by = 'somebody'",
        "UPDATE dunning_templateversion SET state = 'draft', decided_at = NULL, decided_by = '', decision_reason = ''",
        "DELETE FROM dunning_templateversion",
        "UPDATE dunning_noticetemplate SET kind = 'warning'",
        "DELETE FROM dunning_noticetemplate",
        "TRUNCATE dunning_noticetemplate CASCADE",
        "UPDATE dunning_historicaltemplateversion SET history_change_reason = 'x'",
    ],
)
def test_what_was_sent_stays_as_it_was_sent(statement: str) -> None:
    approved(PLAIN)
    sent(planned(an_open_invoice()))

    with pytest.raises(DatabaseError):
        run_sql(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dunning_notice SET state = 'sent', settled_at = now()",
        "UPDATE dunning_notice SET state = 'sending'",
        "UPDATE dunning_notice SET state = 'forgotten'",
        "UPDATE dunning_notice SET state = 'not_needed', settled_at = now()",
        "UPDATE dunning_notice SET state = 'undeliverable'",
        "UPDATE dunning_notice SET subject = 'written before it is sent'",
        "UPDATE dunning_notice SET kind = 'insult'",
        "UPDATE dunning_notice SET customer_id = customer_id + 1",
    ],
)
def test_a_planned_notice_becomes_nothing_that_it_is_not(statement: str) -> None:
    planned(an_open_invoice())

    with pytest.raises(DatabaseError):
        run_sql(statement)


SEND = (
    "UPDATE dunning_notice SET state = 'sending', sending_at = now(), told = '{}', from_address = 'a@example.com',"
    " to_address = %s, subject = %s, text = 't', html = 'h', message_id = '<m@x>', template_version_id = %s"
    " WHERE state = 'planned'"
)


def test_words_that_nobody_approved_are_not_sent() -> None:
    draft = draft_version(kind=NoticeKind.REMINDER, language="en", words=PLAIN, at=NOW, actor="fiona", reason="new")
    other = approved(PLAIN, kind=NoticeKind.WARNING)
    good = approved(PLAIN)
    planned(an_open_invoice())

    for version in (draft, other):
        with pytest.raises(DatabaseError, match="does not say what was approved"):
            run_sql(SEND, "ap@acme.example", "s", version.pk)
    with pytest.raises(DatabaseError, match="notice_subject_is_one_line"):
        run_sql(SEND, "ap@acme.example", "s\r\nBcc: x@example.com", good.pk)
    run_sql(SEND, "ap@acme.example", "s", good.pk)

    with pytest.raises(DatabaseError, match="stays"):
        run_sql("UPDATE dunning_notice SET text = 'something else'")
    with pytest.raises(DatabaseError):
        run_sql("UPDATE dunning_notice SET sending_at = now() + interval '1 hour'")


def bounced(address: str) -> None:
    record_event(
        kind=MailEventKind.BOUNCE,
        address=address,
        provider_id="",
        notice_key="",
        named="test 1",
        said="no such user",
        occurred_at=NOW,
    )


def test_an_address_that_bounced_is_not_written_to_even_by_sql() -> None:
    good = approved(PLAIN)
    planned(an_open_invoice())
    bounced("AP@acme.example")

    with pytest.raises(DatabaseError, match="bounced or complained"):
        run_sql(SEND, "Ap@Acme.example", "s", good.pk)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dunning_blockedaddress SET address = 'other@example.com'",
        "UPDATE dunning_blockedaddress SET lifted_at = now()",
        "UPDATE dunning_blockedaddress SET lifted_at = now(), lifted_by = 'fiona'",
        "DELETE FROM dunning_blockedaddress",
        "TRUNCATE dunning_blockedaddress",
        "UPDATE dunning_mailevent SET kind = 'delivered'",
        "DELETE FROM dunning_mailevent",
        "TRUNCATE dunning_mailevent CASCADE",
        "INSERT INTO dunning_blockedaddress (address, event_id, blocked_at, lifted_by, reason)"
        " SELECT 'UPPER@example.com', event_id, now(), '', '' FROM dunning_blockedaddress",
    ],
)
def test_a_block_is_lifted_by_somebody_with_a_reason_or_not_at_all(statement: str) -> None:
    bounced("ap@acme.example")

    with pytest.raises(DatabaseError):
        run_sql(statement)


VERSION = (
    "INSERT INTO dunning_templateversion (template_id, number, is_built_in, subject, body, button, state, drafted_at,"
    " drafted_by, reason, asked_at, decided_at, decided_by, decision_reason)"
    " SELECT template_id, %s, %s, subject, body, button, %s, now(), %s, 'r', %s, %s, %s, %s"
    " FROM dunning_templateversion ORDER BY id LIMIT 1"
)


@pytest.mark.requirement("S2-029")
def test_nobody_approves_his_own_words_and_nothing_comes_approved() -> None:
    version = draft_version(kind=NoticeKind.REMINDER, language="en", words=PLAIN, at=NOW, actor="Fiona", reason="new")

    with pytest.raises(DatabaseError, match="drafted first"):
        run_sql(VERSION, 2, False, "approved", "x", NOW, NOW, "lena", "fine")
    with pytest.raises(DatabaseError, match="drafted first"):
        run_sql(VERSION, 7, False, "draft", "x", None, None, "", "")
    with pytest.raises(DatabaseError, match="built_in_version_is_the_products_own"):
        run_sql(VERSION, 2, True, "approved", "fiona", NOW, NOW, "fiona", "fine")
    with pytest.raises(DatabaseError, match="does not go from draft to approved"):
        run_sql(
            "UPDATE dunning_templateversion SET state = 'approved', asked_at = now(), decided_at = now(),"
            " decided_by = 'lena', decision_reason = 'fine'"
        )
    run_sql("UPDATE dunning_templateversion SET state = 'asked', asked_at = %s", NOW)
    with pytest.raises(DatabaseError, match="only while it is a draft"):
        run_sql("UPDATE dunning_templateversion SET body = 'other words'")
    with pytest.raises(DatabaseError, match="template_is_approved_by_another_than_drafted"):
        run_sql(
            "UPDATE dunning_templateversion SET state = 'approved', decided_at = %s, decided_by = 'fiONA',"
            " decision_reason = 'fine'",
            NOW,
        )
    with pytest.raises(DatabaseError, match="drafted_by"):
        run_sql("UPDATE dunning_templateversion SET drafted_by = 'somebody'")
    version.refresh_from_db()
    assert version.state == "asked"


def test_a_decision_about_a_notice_stays() -> None:
    notice = sent(planned(an_open_invoice(email="")))
    drop_notice(notice_id=notice.pk, at=NOW, actor="fiona", reason="agreed by phone")

    for statement in (
        "UPDATE dunning_noticedecision SET reason = 'x'",
        "DELETE FROM dunning_noticedecision",
        "TRUNCATE dunning_noticedecision",
    ):
        with pytest.raises(DatabaseError):
            run_sql(statement)


def test_verify_names_a_notice_that_was_changed_behind_the_triggers() -> None:
    sent(planned(an_open_invoice()))
    extend_chain(at=NOW + timedelta(minutes=1))

    behind_the_triggers("UPDATE dunning_notice SET text = 'something else'")

    [found] = [one.message for one in verify() if "dunning_notice" in one.subject]
    assert found.startswith("it is not as it was carved")
