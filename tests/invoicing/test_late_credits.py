"""What a customer gets back waits for invoices with room for it; and nobody talks the database out of the chain."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from moneyed import Money

from invoicing.catalog.operations import load_catalog
from invoicing.invoices.models import Invoice, InvoiceLine, UsageCorrection
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.invoice_document import document_of
from invoicing.workflows.late_changes import late_changes
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.verify import verify
from metering.correcting import amend_event, cancel_event
from tests.factories import (
    AUGUST,
    JULY,
    SEPTEMBER,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.late import BILLED_AT, a_billed_july, corrections, lines_of, use_late

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-061")]

MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in range(9, 13)]


def a_july_billed_too_high(*, cancelled: str, fee: str = "10") -> Invoice:
    """July's invoice over a fee and USD 0.01 an action, of which so many were sent by mistake and are cancelled now."""
    a_plan("pro", usd_fee(fee), usd_per_action("0.01"))
    a_subscription(a_customer())
    use("cust_acme", cancelled, at=JULY, key="mistake")
    use("cust_acme", "100", at=JULY + timedelta(hours=3))
    [july] = issue_billing(as_of=AUGUST, at=BILLED_AT).invoices
    cancel_event(customer_id="cust_acme", idempotency_key="mistake", actor="fiona", reason="sent by mistake")
    return july


def test_usage_that_is_cancelled_after_its_invoice_is_credited_on_the_next_one() -> None:
    july = a_july_billed_too_high(cancelled="400")

    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert lines_of(august)[-1] == (
        f"Late usage of July 2026: 400 fewer actions on invoice {july.number}, line 2",
        "-4.00",
    )
    assert august.total == Money("6.00", "USD")
    assert verify() == []


def test_a_credit_never_makes_an_invoice_negative_and_waits_for_the_ones_after() -> None:
    nothing_is_checked_before_issue()
    july = a_july_billed_too_high(cancelled="2500")

    issued = [issue_billing(as_of=month, at=month).invoices[0] for month in MONTHS]

    assert [f"{invoice.total.amount:.2f}" for invoice in issued] == ["0.00", "0.00", "5.00", "10.00"]
    parts = [invoice.lines.filter(kind="correction").first() for invoice in issued]
    assert [part and (str(part.amount.amount), str(part.quantity.normalize())) for part in parts] == [
        ("-10.000", "-2.5E+3"),
        ("-10.000", "0"),
        ("-5.000", "0"),
        None,
    ]
    assert parts[0] is not None and parts[1] is not None
    assert parts[0].description == (
        f"Late usage of July 2026: 2,500 fewer actions on invoice {july.number}, line 2 (a part of the credit)"
    )
    assert (
        parts[0].rated["explanation"].endswith("USD 10.00 of it fit on this invoice, USD 15.00 stay for the next one.")
    )
    assert "USD 10.00 of it stand on earlier invoices." in parts[1].rated["explanation"]
    assert all(explain_invoice(number=str(invoice.number))["equal"] for invoice in issued)
    assert verify() == []


def test_what_is_owed_makes_room_for_what_is_given_back() -> None:
    a_july_billed_too_high(cancelled="1500")
    settle_late_changes(at=BILLED_AT)
    use_late("300")

    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    assert corrections() == [
        ("-15.00", "next_invoice", "next_invoice"),
        ("3.00", "next_invoice", "next_invoice"),
    ]
    assert [amount for _, amount in lines_of(august)] == ["10.00", "0.00", "-13.00", "3.00"]
    assert august.total == Money("0.00", "USD")
    assert UsageCorrection.objects.order_by("id").first().lines.get().amount == Money("-13", "USD")


def test_an_amended_event_counts_what_it_says_now() -> None:
    a_plan("pro", usd_per_action("1"))
    a_subscription(a_customer())
    use("cust_acme", "10", at=JULY, key="typo")
    issue_billing(as_of=AUGUST, at=BILLED_AT)

    amend_event(
        customer_id="cust_acme", idempotency_key="typo", changes={"quantity": "12"}, actor="fiona", reason="typo"
    )

    [change] = late_changes(at=BILLED_AT).changes
    assert (change.quantity, change.effect) == (2, Money("2.00", "USD"))
    assert (change.events_added, change.events_cancelled) == (1, 1)


def test_an_event_that_is_cancelled_before_anybody_settled_it_was_never_late() -> None:
    a_billed_july()
    use_late("10", key="mistake")
    cancel_event(customer_id="cust_acme", idempotency_key="mistake", actor="fiona", reason="sent by mistake")

    assert late_changes(at=BILLED_AT).changes == ()
    assert settle_late_changes(at=BILLED_AT).settled == []


def test_a_late_level_changes_a_later_period_that_it_is_carried_into() -> None:
    seats = {
        "key": "seats",
        "name": "Seats",
        "event_type": "seats.set",
        "aggregation": "time_weighted_sum",
        "unit": "seat hour",
    }
    load_catalog(document={"meters": [seats]}, at=JULY, actor="test", reason="set up")
    a_plan("pro", usd_per_action("1", meter="seats", key="seats", name="Seats"))
    a_subscription(a_customer())
    use("cust_acme", "1", at=JULY, event_type="seats.set")
    issue_billing(as_of=SEPTEMBER, at=SEPTEMBER)

    use("cust_acme", "3", at=AUGUST - timedelta(hours=1), event_type="seats.set")

    changes = late_changes(at=SEPTEMBER).changes
    assert [(change.line.service_start, change.quantity) for change in changes] == [(JULY, 2), (AUGUST, 2 * 744)]
    settle_late_changes(at=SEPTEMBER)
    assert late_changes(at=SEPTEMBER).changes == ()
    assert verify() == []


def test_the_printed_invoice_shows_a_credit_in_words_and_figures() -> None:
    a_july_billed_too_high(cancelled="2500")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    line = document_of(invoice=august).lines[-1]

    assert line.amount == Money("-10.00", "USD")
    assert [(step.text, str(step.amount.amount)) for step in line.steps] == [
        ("100 actions as they are known now", "1"),
        ("2,600 actions as they were invoiced", "-26"),
        ("Stays for the next invoice", "15"),
    ]


def run_sql(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


COPY = """
    INSERT INTO invoicing_usagecorrection (original_id, customer_id, known_from, known_through, quantity_before,
        quantity_after, window_count, event_count, windows_digest, currency, amount_before, amount_after, effect,
        decision, rule, actor, reason, decided_at, rated, previous_digest, digest)
    SELECT original_id, customer_id, {known_from}, known_through + 1, {quantity_before}, quantity_after + 1, window_count,
        event_count, windows_digest, {currency}, {amount_before}, {amount_after}, {effect}, {decision}, rule, {actor},
        reason, decided_at, rated, {previous}, digest
    FROM invoicing_usagecorrection
"""
NEXT_LINK = {
    "known_from": "known_through",
    "quantity_before": "quantity_after",
    "currency": "currency",
    "amount_before": "amount_after",
    "amount_after": "amount_after + 1",
    "effect": "1",
    "decision": "decision",
    "actor": "actor",
    "previous": "digest",
}


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"known_from": "known_from"}, "usage_correction_follows_one_link|does not start"),
        ({"known_from": "known_through - 1"}, "does not start where"),
        ({"quantity_before": "quantity_after + 1"}, "does not start where"),
        ({"amount_before": "amount_after + 1", "effect": "0"}, "does not start where"),
        ({"previous": "previous_digest"}, "does not start where"),
        ({"effect": "2"}, "effect_is_the_difference"),
        ({"currency": "'EUR'"}, "no issued charge"),
        ({"decision": "'maybe'"}, "decision_is_known"),
        ({"actor": "''"}, "actor_and_reason"),
        ({"amount_after": "amount_after + 0.001", "effect": "0.001"}, "fits_its_currency"),
        ({"amount_after": "amount_after", "effect": "0"}, "with_money_only"),
    ],
)
def test_a_forged_link_is_refused(change: dict[str, str], refusal: str) -> None:
    a_billed_july()
    use_late("100")
    settle_late_changes(at=BILLED_AT)

    with pytest.raises(DatabaseError, match=refusal):
        run_sql(COPY.format(**{**NEXT_LINK, **change}))


def test_the_pattern_of_the_forged_links_is_itself_a_link() -> None:
    a_billed_july()
    use_late("100")
    settle_late_changes(at=BILLED_AT)

    run_sql(COPY.format(**NEXT_LINK))

    assert UsageCorrection.objects.count() == 2
    assert {finding.check for finding in verify()} == {"corrections hold"}, (
        "only verify sees that the figures are made up"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_usagecorrection SET decision = 'absorbed'",
        "UPDATE invoicing_usagecorrection SET reason = 'another'",
        "DELETE FROM invoicing_usagecorrection",
        "TRUNCATE invoicing_usagecorrection CASCADE",
        "UPDATE invoicing_invoiceline SET amount = amount + 1 WHERE kind = 'correction'",
        "UPDATE invoicing_invoiceline SET quantity = quantity + 1 WHERE kind = 'correction'",
        "UPDATE invoicing_invoiceline SET kind = 'charge'",
        "UPDATE invoicing_invoiceline SET correction_id = NULL WHERE kind = 'correction'",
        "UPDATE invoicing_invoiceline SET known_through = known_through - 1 WHERE kind = 'correction'",
        "UPDATE invoicing_invoiceline SET quantity = -1 WHERE kind = 'charge'",
        "UPDATE invoicing_invoiceline SET amount = -1 WHERE kind = 'charge'",
        "UPDATE invoicing_invoiceline SET kind = 'gift' WHERE kind = 'charge'",
    ],
)
def test_raw_sql_does_not_change_what_was_decided_or_what_a_draft_carries_of_it(statement: str) -> None:
    a_billed_july()
    use_late("100")
    [draft] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    assert draft.lines.filter(kind="correction").count() == 1

    with pytest.raises(DatabaseError):
        run_sql(statement)


@pytest.mark.parametrize("share", ["amount", "-1"])
def test_a_correction_is_not_carried_by_two_invoices(share: Any) -> None:
    a_billed_july()
    use_late("100")
    [august] = issue_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices
    [september] = draft_billing(as_of=MONTHS[1], at=MONTHS[1]).invoices
    columns = [
        field.column
        for field in InvoiceLine._meta.concrete_fields
        if field.column not in ("id", "invoice_id", "amount")
    ]

    with pytest.raises(DatabaseError, match="are on invoices already"):
        run_sql(
            f"INSERT INTO invoicing_invoiceline (invoice_id, amount, {', '.join(columns)})"
            f" SELECT {september.pk}, {share}, {', '.join(columns)} FROM invoicing_invoiceline"
            f" WHERE invoice_id = {august.pk} AND kind = 'correction'"
        )


def test_a_correction_is_not_carried_by_another_customers_invoice() -> None:
    a_billed_july()
    a_subscription(a_customer("cust_else"), key="else", started_at=AUGUST)
    use_late("100")
    [acme, other] = draft_billing(as_of=SEPTEMBER, at=SEPTEMBER).invoices

    with pytest.raises(DatabaseError, match="does not carry what correction"):
        run_sql(f"UPDATE invoicing_invoiceline SET invoice_id = {other.pk}, position = 9 WHERE kind = 'correction'")
    assert acme.lines.filter(kind="correction").count() == 1


def test_a_line_that_cannot_be_rated_again_is_named_and_holds_up_nobody_else() -> None:
    broken = a_billed_july()
    a_subscription(a_customer("cust_else"), key="else")
    issue_billing(as_of=AUGUST, at=BILLED_AT)
    for customer in ("cust_acme", "cust_else"):
        use(customer, "100", at=JULY + timedelta(hours=4))
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "UPDATE invoicing_invoiceline SET rated = jsonb_set(rated, '{inputs,engine}', '\"0\"') WHERE invoice_id = %s",
            [broken.pk],
        )
        cursor.execute("SET session_replication_role = origin")

    found = late_changes(at=BILLED_AT)
    report = settle_late_changes(at=BILLED_AT)

    assert [failure.line.invoice for failure in found.failures] == [broken]
    assert "rated by engine 0" in found.failures[0].message
    assert [str(one.customer) for one in report.settled] == ["Acme GmbH"] and report.settled[
        0
    ].customer.key == "cust_else"
    assert [customer for customer, _ in report.failures] == ["cust_acme"]
