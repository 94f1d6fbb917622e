"""`verify` finds what somebody changed behind the triggers' back, and names it."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection

from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use

pytestmark = pytest.mark.django_db


@pytest.fixture
def invoice() -> Invoice:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3), key="first")
    use("cust_acme", "1", at=JULY + timedelta(days=4), key="second")
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST).invoices
    settle_constraints()
    return invoice


def behind_the_triggers(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")


def test_an_untouched_house_has_no_finding(invoice: Invoice, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("verify")

    assert "all equal" in capsys.readouterr().out


def test_one_cent_in_one_line_is_found_and_the_line_named(invoice: Invoice, capsys: pytest.CaptureFixture[str]) -> None:
    behind_the_triggers("UPDATE invoicing_invoiceline SET amount = amount + 0.01 WHERE position = 2")

    with pytest.raises(SystemExit) as exit_:
        call_command("verify")

    assert exit_.value.code == 1
    assert any(
        finding.subject == "invoice INV-2026-00001 line 2 (Actions)" and "15.01" in finding.message
        for finding in verify()
    )


@pytest.mark.parametrize(
    ("statement", "check", "subject"),
    [
        ("UPDATE invoicing_invoice SET customer_name = 'Evil Ltd'", "seals hold", "INV-2026-00001"),
        (
            "UPDATE invoicing_invoice SET subtotal = subtotal + 1, total = total + 1",
            "invoices are booked",
            "INV-2026-00001",
        ),
        ("UPDATE invoicing_posting SET amount = amount + 0.01 WHERE amount > 0", "books balance", "INV-2026-00001"),
        ("DELETE FROM invoicing_journalentry", "invoices are booked", "INV-2026-00001"),
        ("UPDATE invoicing_invoice SET number = 'INV-2026-00002'", "numbers are gapless", "INV-2026-00001"),
        ("UPDATE invoicing_invoiceseries SET next_number = 3", "numbers are gapless", "INV-2026-00002"),
        ("UPDATE metering_usageevent SET quantity = 1501 WHERE event_id = 'first'", "lines rate again", "line 2"),
        ("DELETE FROM metering_usageevent WHERE event_id = 'second'", "events are conserved", "meter actions"),
        ("UPDATE metering_usagewindow SET value = value + 1", "events are conserved", "meter actions"),
        (
            "UPDATE invoicing_invoiceline SET rated = jsonb_set(rated, '{amount,amount}', '\"1.00\"')",
            "lines rate again",
            "line 1",
        ),
        ("ALTER TABLE invoicing_invoice DISABLE TRIGGER USER", "guards are on", "carved_in_stone"),
    ],
)
def test_a_forgery_is_found_by_the_check_that_is_for_it(
    invoice: Invoice, statement: str, check: str, subject: str
) -> None:
    behind_the_triggers(statement)

    findings = verify()

    assert any(finding.check == check and subject in finding.subject for finding in findings), findings
