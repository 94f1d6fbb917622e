"""The close of a month: a checklist of which each check is green or signed off, a certificate that is proved again, a package that stays."""

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from moneyed import Money

from billing_site.kernel.errors import BillingError, Conflict, InvalidInput
from invoicing.approvals.models import Approval
from invoicing.approvals.operations import SamePerson
from invoicing.closing.models import CheckSignOff, MonthClose, MonthReopening
from invoicing.closing.operations import ask_to_reopen
from invoicing.closing.queries import month_states
from invoicing.customers.models import Customer
from invoicing.ledger.models import Account
from invoicing.reports.mapping import map_account
from invoicing.workflows.close_month import Checklist, NotReady, checklist_of, close_month, sign_off
from invoicing.workflows.close_package import package_of
from invoicing.workflows.run_billing import draft_billing
from invoicing.workflows.verify import verify, verify_chains
from metering.rollup import roll_up
from tests.factories import AUGUST, SEPTEMBER, a_customer, a_subscription, settle_constraints, use
from tests.invoicing.closing.closing import AUGUST_MONTH, SEPTEMBER_MONTH, WHY, close, reopen
from tests.invoicing.crediting import credited
from tests.invoicing.reports.building import OCTOBER, a_quarter, pay
from tests.invoicing.reports.test_reports import behind_the_triggers

pytestmark = pytest.mark.django_db
AT = SEPTEMBER + timedelta(days=2)
ANOTHER_AMOUNT = "UPDATE invoicing_posting SET amount = amount + sign(amount) WHERE entry_id = (SELECT min(id) FROM invoicing_journalentry)"


def checks(checklist: Checklist) -> dict[str, str]:
    return {one.checked.name: one.state for one in checklist.checks}


def a_month_with_work_left() -> None:
    """August: Acme's first invoice is paid and then credited, the refund not paid back; Late is a draft; Forgotten is not billed; an event too many."""
    invoices = a_quarter()
    first = invoices["cust_acme"][0]
    first.refresh_from_db()
    pay(first, str(first.amount_due.amount), at=AUGUST + timedelta(days=11), reference="T-2")
    credited(first, disposition="refund", at=AUGUST + timedelta(days=12))
    a_subscription(a_customer("cust_late", name="Late"), started_at=AUGUST)
    draft_billing(as_of=SEPTEMBER, at=SEPTEMBER, customer_key="cust_late")
    a_subscription(a_customer("cust_forgotten", name="Forgotten"), started_at=AUGUST)
    use("cust_nobody", "5", at=AUGUST + timedelta(days=3))


def books_that_do_not_agree() -> None:
    """August: an invoice stands in the books with a dollar more than it says, and has another seal."""
    a_quarter()
    settle_constraints()
    behind_the_triggers(ANOTHER_AMOUNT)
    behind_the_triggers("UPDATE invoicing_invoice SET seal = 'forged' WHERE number = 'INV-2026-00001'")


def test_each_check_names_what_is_left_and_holds_the_close_until_somebody_answers_for_it() -> None:
    a_month_with_work_left()
    before = checklist_of(month=AUGUST_MONTH, at=AT)

    states = checks(before)
    assert {name for name, state in states.items() if state == "open"} == {
        "billed",
        "issued",
        "usage_charged",
        "refunds",
    }
    found = {one.checked.name: one.checked.found for one in before.checks}
    assert found["billed"] == ("Forgotten is not billed for 1 – 31 August 2026",)
    assert found["issued"] == ("Late, 1 – 31 August 2026, USD 29.00: a draft",)
    assert found["refunds"] == ("USD 44.00 of credit note CN-2026-00001 are not paid back",)
    with pytest.raises(NotReady, match="4 checks are open"):
        close_month(month=AUGUST_MONTH, digest=before.digest, at=AT, **WHY)

    for one in before.open_checks:
        sign_off(month=AUGUST_MONTH, check=one.checked.name, digest=one.checked.digest, at=AT, **WHY)
        told = sign_off(month=AUGUST_MONTH, check=one.checked.name, digest=one.checked.digest, at=AT, **WHY)
    with pytest.raises(Conflict, match="the checklist is another by now"):
        close_month(month=AUGUST_MONTH, digest=before.digest, at=AT, **WHY)
    signed = checklist_of(month=AUGUST_MONTH, at=AT)
    assert told == signed, "who signs sees the checklist with the signature"
    closed = close_month(month=AUGUST_MONTH, digest=signed.digest, at=AT, **WHY)

    assert close_month(month=AUGUST_MONTH, digest=signed.digest, at=AT, **WHY) == closed, "closing twice is once"
    assert CheckSignOff.objects.count() == 4
    kept = {one["check"]: one for one in closed.certificate["checklist"]}
    assert (kept["refunds"]["state"], kept["refunds"]["signed_by"], kept["refunds"]["reason"]) == (
        "signed",
        "ann",
        "month end",
    )
    assert kept["books"]["state"] == kept["ties"]["state"] == "green"


def test_what_comes_to_a_check_after_it_was_signed_off_is_found_anew() -> None:
    a_month_with_work_left()
    [one] = [row for row in checklist_of(month=AUGUST_MONTH, at=AT).checks if row.checked.name == "issued"]
    sign_off(month=AUGUST_MONTH, check="issued", digest=one.checked.digest, at=AT, **WHY)
    assert checks(checklist_of(month=AUGUST_MONTH, at=AT))["issued"] == "signed"

    draft_billing(as_of=SEPTEMBER, at=SEPTEMBER, customer_key="cust_forgotten")

    assert checks(checklist_of(month=AUGUST_MONTH, at=AT))["issued"] == "open"
    with pytest.raises(Conflict, match="something else by now"):
        sign_off(month=AUGUST_MONTH, check="issued", digest=one.checked.digest, at=AT, **WHY)


def test_months_are_closed_in_order_when_they_are_over_and_with_a_reason() -> None:
    a_quarter()
    september = checklist_of(month=SEPTEMBER_MONTH, at=OCTOBER)
    august = checklist_of(month=AUGUST_MONTH, at=AT)

    attempts: list[tuple[Callable[[], Any], str, str]] = [
        (lambda: close_month(month=SEPTEMBER_MONTH, digest=september.digest, at=OCTOBER, **WHY), "month", "not_next"),
        (
            lambda: close_month(
                month=AUGUST_MONTH, digest=august.digest, at=SEPTEMBER - timedelta(microseconds=1), **WHY
            ),
            "month",
            "too_early",
        ),
        (
            lambda: close_month(month=AUGUST_MONTH, digest=august.digest, at=AT, actor="ann", reason=" "),
            "reason",
            "required",
        ),
        (lambda: sign_off(month=SEPTEMBER_MONTH, check="books", digest="", at=AT, **WHY), "month", "not_next"),
        (lambda: sign_off(month=AUGUST_MONTH, check="tea", digest="", at=AT, **WHY), "check", "unknown"),
        (lambda: sign_off(month=AUGUST_MONTH, check="refunds", digest="", at=AT, **WHY), "check", "outdated"),
    ]
    for attempt, field, code in attempts:
        with pytest.raises(BillingError) as refused:
            attempt()
        assert [(error.field, error.code) for error in refused.value.field_errors] == [(field, code)]
    assert isinstance(refused.value, Conflict) and not MonthClose.objects.exists()
    close_month(month=AUGUST_MONTH, digest=august.digest, at=SEPTEMBER, **WHY)
    states = {str(one.month): one.word for one in month_states(at=OCTOBER)}
    assert states == {"2026-08": "closed", "2026-09": "to close", "2026-10": "running"}


def test_an_event_of_the_month_that_no_meter_counts_holds_its_close_back_however_late_it_came() -> None:
    a_quarter()
    use("cust_acme", "1", at=AUGUST + timedelta(days=3), event_type="nobody.counts")
    use("cust_acme", "1", at=AUGUST + timedelta(days=4), key="twice")
    use("cust_acme", "2", at=AUGUST + timedelta(days=4), key="twice")
    use("cust_acme", "1", at=SEPTEMBER + timedelta(days=4), key="again")
    use("cust_acme", "2", at=SEPTEMBER + timedelta(days=4), key="again")
    use("cust_acme", "1", at=SEPTEMBER, event_type="nobody.counts")
    roll_up()

    august = {one.checked.name: one.checked.found for one in checklist_of(month=AUGUST_MONTH, at=AT).checks}
    september = {one.checked.name: one.checked.found for one in checklist_of(month=SEPTEMBER_MONTH, at=OCTOBER).checks}

    assert august["usage_read"] == (
        "1 event of nobody.counts: no meter counts this event type",
        "1 event of another content than accepted before",
    )
    assert september["usage_read"] == (
        "2 events of nobody.counts: no meter counts this event type",
        "2 events of another content than accepted before",
    )


def test_books_that_do_not_agree_are_mended_and_nobody_signs_them_off() -> None:
    books_that_do_not_agree()

    seen = checklist_of(month=AUGUST_MONTH, at=AT)
    assert [one.checked.name for one in seen.open_checks] == ["books", "ties"]
    told = seen.open_checks[0].checked.found
    assert told[0].startswith("invoice INV-2026-00001: its total is 44")
    assert told[-1] == "invoice INV-2026-00002: the chain is broken before it"
    for one in seen.open_checks:
        with pytest.raises(Conflict, match=r"nobody can sign it off: let manage\.py verify name") as refused:
            sign_off(month=AUGUST_MONTH, check=one.checked.name, digest=one.checked.digest, at=AT, **WHY)
        assert refused.value.code == "never_signed_off"
        statement = (
            "INSERT INTO invoicing_checksignoff (month, check_name, digest, summary, signed_at, actor, reason)"
            f" VALUES ('2026-08-01', '{one.checked.name}', '{one.checked.digest}', 'x', now(), 'eve', 'x')"
        )
        with pytest.raises(IntegrityError, match="nobody can sign off"), transaction.atomic():
            run(statement)
        # A signature of an older release, or of a superuser: no close takes it.
        behind_the_triggers(statement)
    assert checks(checklist_of(month=AUGUST_MONTH, at=AT)) == checks(seen)
    with pytest.raises(NotReady, match="2 checks are open"):
        close_month(month=AUGUST_MONTH, digest=seen.digest, at=AT, **WHY)
    for state in ("signed", "open"):
        forged = [{"check": "books", "state": "green"}, {"check": "ties", "state": state}]
        with pytest.raises(IntegrityError, match="does not say that its books agree"), transaction.atomic():
            run(
                "INSERT INTO invoicing_monthclose (month, closed_at, actor, reason, certificate, digest)"
                f" VALUES ('2026-08-01', '2026-09-03', 'eve', 'x', '{json.dumps({'checklist': forged})}', '')"
            )


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


FORGERIES = (
    # Statement, the check that finds it, what it names.
    (
        ANOTHER_AMOUNT,
        "closed months hold",
        "account 1200 had USD 44.00 as debit, now 45.00",
    ),
    (
        "UPDATE invoicing_journalentry SET booked_at = '2026-08-05' WHERE kind = 'payment'",
        "closed months hold",
        "its journal had entries 2, now 3",
    ),
    (
        "UPDATE invoicing_journalentry SET description = 'forged' WHERE id = (SELECT min(id) FROM invoicing_journalentry)",
        "closed months hold",
        "its journal had digest",
    ),
    (
        "UPDATE invoicing_closedreport SET content = content || 'x' WHERE name = 'tax'",
        "closed months hold",
        "the report tax is not the one that was kept",
    ),
    (
        "DELETE FROM invoicing_closedreport WHERE name = 'tax'",
        "closed months hold",
        "the report tax is gone",
    ),
    (
        "UPDATE invoicing_monthclose SET certificate = jsonb_set(certificate, '{closed_by}', '\"eve\"')",
        "closed months hold",
        "its certificate is not the one whose digest it has",
    ),
    (
        "UPDATE invoicing_invoice SET seal = 'forged' WHERE number = 'INV-2026-00006'",
        "closed months hold",
        "document 6 of series INV-2026 is not there, or has another seal",
    ),
    (
        "UPDATE invoicing_invoice SET issued_at = '2026-09-01' WHERE number = 'INV-2026-00001'",
        "reports of closed months hold",
        "the report open-invoices says other figures than when it was closed",
    ),
    (
        "UPDATE invoicing_books SET open_from = NULL",
        "closed months hold",
        "they are open from None",
    ),
)


def test_verify_names_the_month_and_what_differs_in_it() -> None:
    a_quarter()
    close(AUGUST_MONTH, at=AT)
    settle_constraints()
    assert verify() == []

    for statement, check, told in FORGERIES:
        with transaction.atomic():
            behind_the_triggers(statement)
            found = [one for one in verify() if one.check == check]
            if check == "closed months hold":
                assert found == [one for one in verify_chains() if one.check == check]
            transaction.set_rollback(True)
        assert any(told in one.message for one in found), (statement, found)
        assert {one.subject for one in found} <= {
            "the close of 2026-08",
            "the books",
            "journal entry payment manual:T-1",
        }


def test_only_the_newest_month_is_opened_again_and_only_by_two() -> None:
    a_quarter()
    august = close(AUGUST_MONTH, at=AT)
    september = close(SEPTEMBER_MONTH, at=OCTOBER)

    with pytest.raises(Conflict, match="is not the newest closed month"):
        ask_to_reopen(close_id=august.pk, at=OCTOBER, actor="ann", reason="x")
    with pytest.raises(InvalidInput, match="say why"):
        ask_to_reopen(close_id=september.pk, at=OCTOBER, actor="ann", reason="")
    with pytest.raises(SamePerson):
        reopen(september, at=OCTOBER, asks="ann", approves="Ann")
    assert not MonthReopening.objects.exists()
    reopen(september, at=OCTOBER)
    reopen(august, at=OCTOBER)

    told = MonthReopening.objects.order_by("id").values_list("close__month", "requested_by", "approved_by", "reason")
    assert [(f"{month:%Y-%m}", *others) for month, *others in told] == [
        ("2026-09", "ann", "bob", "an invoice is wrong"),
        ("2026-08", "ann", "bob", "an invoice is wrong"),
    ]
    assert [one.word for one in month_states(at=OCTOBER)] == ["running", "waits", "to close"]
    close(AUGUST_MONTH, at=OCTOBER)
    settle_constraints()
    assert verify() == []


def test_no_approval_but_that_of_this_close_opens_it_again() -> None:
    a_quarter()
    first = close(AUGUST_MONTH, at=AT)
    reopen(first, at=AT)
    second = close(AUGUST_MONTH, at=AT)
    asked = ask_to_reopen(close_id=second.pk, at=AT, actor="ann", reason="x")
    of_the_first = Approval.objects.get(subject=first.subject)
    settle_constraints()

    for approval, asks, approves in (
        (asked.pk, "ann", "bob"),
        (asked.pk, "ann", "ann"),
        (of_the_first.pk, "ann", "bob"),
        (of_the_first.pk, "eve", "bob"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO invoicing_monthreopening (close_id, approval_id, reopened_at, requested_by, approved_by, reason)"
                " VALUES (%s, %s, now(), %s, %s, 'x')",
                [second.pk, approval, asks, approves],
            )


def test_the_package_of_a_month_is_the_same_bytes_whatever_changes_later() -> None:
    invoices = a_quarter()
    pay(invoices["cust_kyoto"][0], "1000", at=AUGUST + timedelta(days=20), reference="=T-3")
    close(AUGUST_MONTH, at=AT)
    package = package_of(month=AUGUST_MONTH)
    content = b"".join(package.chunks)

    Customer.objects.filter(key="cust_acme").update(name="Renamed")
    revenue = Account.objects.get(code="4000")
    map_account(system="beancount", account=revenue, code="Income:Other", actor="ann", reason="a new chart")
    pay(invoices["cust_kyoto"][0], "500", at=AUGUST + timedelta(days=21), reference="T-4")
    assert b"".join(package_of(month=AUGUST_MONTH).chunks) == content

    archive = zipfile.ZipFile(io.BytesIO(content))
    assert archive.testzip() is None
    names = archive.namelist()
    assert {
        "certificate.json",
        "checklist.csv",
        "reports/trial-balance.csv",
        "journal/journal-2026-08-01-2026-08-31.csv",
    } <= {*names}
    assert "journal/journal-2026-08-01-2026-08-31.beancount" in names
    assert "DATEV is missing: " in archive.read("README.txt").decode()
    for line in archive.read("SHA256SUMS").decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(archive.read(name)).hexdigest() == digest
    rows = csv.DictReader(io.StringIO(archive.read("journal/journal-2026-08-01-2026-08-31.csv").decode()))
    receivable: dict[str, Decimal] = {}
    for row in rows:
        assert row["Customer"] in ("Acme GmbH", "Kyoto KK")
        if row["Account"] == "1200":
            moved = Decimal(row["Debit"] or 0) - Decimal(row["Credit"] or 0)
            receivable[row["Currency"]] = receivable.get(row["Currency"], Decimal(0)) + moved
    told = MonthClose.objects.get().certificate["accounts"]
    assert {
        one["currency"]: Money(one["closing"], one["currency"]).amount for one in told if one["account"] == "1200"
    } == receivable
    with pytest.raises(Conflict, match="has no close in force"):
        package_of(month=SEPTEMBER_MONTH)
