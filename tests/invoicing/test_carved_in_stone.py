"""What is issued, posted, published or recorded cannot be changed, whoever asks: attacks by raw SQL."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use

pytestmark = pytest.mark.django_db


def run_sql(statement: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.fixture
def issued() -> Invoice:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [invoice] = issue_billing(as_of=AUGUST, at=AUGUST + timedelta(days=1)).invoices
    settle_constraints()
    return invoice


@pytest.fixture
def draft() -> Invoice:
    a_plan()
    a_subscription(a_customer())
    use("cust_acme", "1500", at=JULY + timedelta(days=3))
    [invoice] = draft_billing(as_of=AUGUST, at=AUGUST + timedelta(days=1)).invoices
    settle_constraints()
    return invoice


def columns_of(table: str) -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s AND column_name <> 'id'",
            [table],
        )
        return list(cursor.fetchall())


def another_value(column: str, kind: str) -> str:
    """An SQL expression of the column's type that differs from what stands there."""
    match kind:
        case "character varying" | "text":
            # Two letters: the shortest column holds a language.
            return f"CASE WHEN {column} = 'de' THEN 'en' ELSE 'de' END"
        case "jsonb":
            return "'{\"forged\": true}'::jsonb"
        case "date":
            return f"coalesce({column}, current_date) + 1"
        case "timestamp with time zone":
            return f"coalesce({column}, now()) + interval '1 hour'"
        case "uuid":
            return "gen_random_uuid()"
        case _:
            return f"coalesce({column}, 0) + 1"


SETTLEMENT_COLUMNS = {"status", "amount_paid", "amount_credited", "amount_written_off", "paid_at"}


@pytest.mark.requirement("S0-106")
def test_no_column_of_an_issued_invoice_can_be_changed_but_its_settlement(issued: Invoice) -> None:
    columns = [pair for pair in columns_of("invoicing_invoice") if pair[0] not in SETTLEMENT_COLUMNS]

    for column, kind in columns:
        with pytest.raises(IntegrityError, match="cannot be"):
            run_sql(f"UPDATE invoicing_invoice SET {column} = {another_value(column, kind)} WHERE id = {issued.pk}")

    assert len(columns) > 20, "the attack must try every column"


@pytest.mark.requirement("S0-106")
def test_no_column_of_an_issued_line_can_be_changed(issued: Invoice) -> None:
    columns = columns_of("invoicing_invoiceline")

    for column, kind in columns:
        with pytest.raises(IntegrityError, match="cannot be"):
            run_sql(
                f"UPDATE invoicing_invoiceline SET {column} = {another_value(column, kind)}"
                f" WHERE invoice_id = {issued.pk}"
            )

    assert len(columns) > 15, "the attack must try every column"


@pytest.mark.requirement("S0-112")
@pytest.mark.requirement("S0-017")
@pytest.mark.requirement("S0-106")
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invoicing_invoice",
        "DELETE FROM invoicing_invoiceline",
        "TRUNCATE invoicing_invoice CASCADE",
        "TRUNCATE invoicing_invoiceline CASCADE",
        "UPDATE invoicing_invoice SET status = 'draft'",
        "UPDATE invoicing_invoice SET amount_paid = -1",
        "UPDATE invoicing_invoice SET status = 'paid', paid_at = now()",
        "DELETE FROM invoicing_journalentry",
        "UPDATE invoicing_journalentry SET description = 'forged'",
        "TRUNCATE invoicing_journalentry CASCADE",
        "UPDATE invoicing_posting SET amount = amount * 2",
        "DELETE FROM invoicing_posting",
        "TRUNCATE invoicing_posting",
        "UPDATE invoicing_historicalinvoice SET total = 0",
        "DELETE FROM invoicing_historicalcustomer",
        "TRUNCATE invoicing_historicalcustomer",
        "UPDATE invoicing_price SET unit_amount = 0",
        "DELETE FROM invoicing_price",
        "UPDATE invoicing_planversion SET number = 9",
        "DELETE FROM invoicing_planversion",
        "UPDATE invoicing_invoiceseries SET next_number = 1",
        "UPDATE invoicing_invoiceseries SET next_number = next_number + 2",
        "DELETE FROM invoicing_invoiceseries",
        "UPDATE metering_usageevent SET quantity = 0",
        "DELETE FROM metering_usageevent",
        "TRUNCATE metering_usageevent",
        "TRUNCATE metering_usagewindow",
    ],
)
def test_raw_sql_cannot_change_or_remove_a_fact(issued: Invoice, statement: str) -> None:
    with pytest.raises(IntegrityError):
        run_sql(statement)


@pytest.mark.requirement("S0-106")
def test_no_line_can_be_added_to_an_issued_invoice(issued: Invoice) -> None:
    with pytest.raises(IntegrityError, match="cannot be added"):
        run_sql(
            f"""
            INSERT INTO invoicing_invoiceline (invoice_id, position, subscription_id, price_id, description, meter_key,
                unit, quantity, currency, amount, service_start, service_end, window_count, event_count,
                windows_digest, known_through, rated, digest)
            SELECT invoice_id, position + 100, subscription_id, price_id, 'forged', meter_key, unit, quantity,
                currency, amount, service_start + interval '1 minute', service_end, window_count, event_count,
                windows_digest, known_through, rated, digest
            FROM invoicing_invoiceline WHERE invoice_id = {issued.pk}
            """
        )


@pytest.mark.requirement("S0-118")
def test_an_entry_that_does_not_balance_is_refused_at_commit(issued: Invoice) -> None:
    statement = """
        WITH entry AS (
            INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
            VALUES ('payment', 'one-sided', 'USD', 'one side only', now()) RETURNING id
        )
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', 'USD', CASE account.code WHEN '1000' THEN 10.00 ELSE -9.99 END
        FROM entry, invoicing_account account WHERE account.code IN ('1000', '1200')
    """

    with pytest.raises(IntegrityError, match="does not balance"):
        run_sql(statement)


@pytest.mark.requirement("S0-118")
def test_postings_in_two_currencies_do_not_balance_each_other(issued: Invoice) -> None:
    statement = """
        WITH entry AS (
            INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
            VALUES ('payment', 'mixed', 'USD', 'mixed currencies', now()) RETURNING id
        )
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', CASE account.code WHEN '1000' THEN 'USD' ELSE 'EUR' END,
               CASE account.code WHEN '1000' THEN 10.00 ELSE -10.00 END
        FROM entry, invoicing_account account WHERE account.code IN ('1000', '1200')
    """

    with pytest.raises(IntegrityError, match="does not balance"):
        run_sql(statement)


@pytest.mark.django_db(transaction=True)
def test_a_closed_entry_takes_no_further_postings() -> None:
    a_plan()
    a_subscription(a_customer())
    issue_billing(as_of=AUGUST, at=AUGUST)

    with pytest.raises(IntegrityError, match="is closed"):
        run_sql(
            "INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)"
            " SELECT e.id, a.id, 'main', e.currency, 5 FROM invoicing_journalentry e, invoicing_account a WHERE a.code = '1000'"
        )


@pytest.mark.requirement("S0-131")
def test_a_customer_cannot_get_two_invoices_for_one_period(issued: Invoice) -> None:
    with pytest.raises(IntegrityError, match="invoice_is_one_per_customer_and_period"):
        run_sql(
            """
            INSERT INTO invoicing_invoice (customer_id, status, currency, subtotal, total, amount_paid, period_start,
                period_end, timezone, drafted_at, customer_name, customer_email, customer_address, customer_tax_id,
                seller, settlement_channel, content_digest, previous_seal, seal)
            SELECT customer_id, 'draft', currency, 0, 0, 0, period_start, period_end, timezone, drafted_at,
                customer_name, '', '', '', '{}', settlement_channel, 'x', '', ''
            FROM invoicing_invoice
            """
        )


def test_an_invoice_cannot_be_born_issued(issued: Invoice) -> None:
    with pytest.raises(IntegrityError, match="begins as a draft"):
        run_sql(
            """
            INSERT INTO invoicing_invoice (customer_id, status, number, series_id, issued_at, due_date, currency,
                subtotal, total, amount_paid, period_start, period_end, timezone, drafted_at, customer_name,
                customer_email, customer_address, customer_tax_id, seller, settlement_channel, content_digest,
                previous_seal, seal)
            SELECT customer_id, 'issued', 'INV-2026-99999', series_id, now(), current_date, currency, 0, 0, 0,
                period_start - interval '1 month', period_start, timezone, drafted_at, customer_name, '', '', '', '{}',
                settlement_channel, 'x', '', 'x'
            FROM invoicing_invoice
            """
        )


def test_a_total_that_is_not_the_sum_of_the_lines_is_refused_at_commit(draft: Invoice) -> None:
    with pytest.raises(IntegrityError, match="lines sum to"):
        run_sql(f"UPDATE invoicing_invoice SET subtotal = subtotal + 1, total = total + 1 WHERE id = {draft.pk}")


@pytest.mark.requirement("S0-107")
def test_a_yen_amount_with_cents_is_refused(draft: Invoice) -> None:
    with pytest.raises(IntegrityError, match="fit"):
        run_sql(f"UPDATE invoicing_invoice SET currency = 'JPY', subtotal = 100.5, total = 100.5 WHERE id = {draft.pk}")
