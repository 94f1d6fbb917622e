"""Raw SQL against the guards: every way around a trigger that we could think of is closed, or found by verify."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from invoicing.catalog.models import PlanVersion
from invoicing.invoices.models import Invoice
from invoicing.workflows.explain_invoice import explain_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription, settle_constraints, use

pytestmark = pytest.mark.django_db


def run_sql(*statements: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def behind_the_triggers(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")


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


def test_no_setting_of_a_session_switches_a_guard_off(issued: Invoice) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(tgname) FROM pg_trigger WHERE tgname LIKE 'pgtrigger_%'")
        [names] = cursor.fetchone()

    with pytest.raises(IntegrityError, match="cannot be changed"):
        run_sql(
            "SET LOCAL pgtrigger.ignore = '{" + ",".join(names) + "}'",
            "UPDATE invoicing_invoice SET customer_name = 'Evil Ltd'",
        )


@pytest.mark.parametrize(
    "statement",
    [
        # the books
        "UPDATE invoicing_account SET code = '9999' WHERE code = '4000'",
        "UPDATE invoicing_account SET kind = 'asset' WHERE code = '4000'",
        "INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at, recorded_in)"
        " VALUES ('reversal', 'later', 'USD', 'kept open for a later transaction', now(), txid_current() + 1)",
        # the series
        "UPDATE invoicing_invoiceseries SET last_seal = 'forged'",
        "UPDATE invoicing_invoiceseries SET next_number = next_number + 1",
        "UPDATE invoicing_invoiceseries SET next_number = next_number + 1, last_seal = 'forged'",
        "UPDATE invoicing_invoiceseries SET id = id + 1000",
        "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2027', 7, '')",
        "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2027', 1, 'forged')",
        # whom and what the billed periods hang on
        "UPDATE invoicing_customer SET key = 'cust_other'",
        "UPDATE invoicing_customer SET currency = 'EUR'",
        "UPDATE invoicing_customer SET timezone = 'Asia/Tokyo'",
        "UPDATE invoicing_subscription SET started_at = started_at - interval '1 month'",
        "UPDATE invoicing_subscription SET anchor = 'anniversary'",
        "UPDATE invoicing_subscription SET key = 'another'",
        # settlement
        "UPDATE invoicing_invoice SET amount_paid = total + 1",
        "UPDATE invoicing_invoice SET amount_paid = 1, status = 'void'",
        "UPDATE invoicing_invoice SET paid_at = now()",
        # published prices
        "INSERT INTO invoicing_price (plan_version_id, key, name, currency, position, model, unit_amount, free_units)"
        " SELECT plan_version_id, 'smuggled', 'Smuggled', 'USD', 9, 'flat', 1000, 0 FROM invoicing_price LIMIT 1",
        "INSERT INTO invoicing_pricetier (price_id, position, unit_amount, flat_amount, rate)"
        " SELECT id, 0, 0, 0, 0 FROM invoicing_price LIMIT 1",
        "UPDATE invoicing_planversion SET published_at = NULL",
        "MERGE INTO invoicing_invoice i USING (SELECT 1) s ON TRUE WHEN MATCHED THEN UPDATE SET total = 0, subtotal = 0",
        "MERGE INTO invoicing_invoiceline l USING (SELECT 1) s ON TRUE WHEN MATCHED THEN DELETE",
        "INSERT INTO invoicing_invoice SELECT * FROM invoicing_invoice ON CONFLICT (id) DO UPDATE SET total = 0",
    ],
)
def test_raw_sql_finds_no_way_around(issued: Invoice, statement: str) -> None:
    with pytest.raises(DatabaseError):
        run_sql(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_invoice SET total = total + 1",
        "UPDATE invoicing_invoice SET amount_paid = 1",
        "UPDATE invoicing_invoice SET id = id + 1000",
        "UPDATE invoicing_invoice SET status = 'paid'",
        "UPDATE invoicing_invoice SET status = 'void'",
        "UPDATE invoicing_invoice SET status = 'issued', number = 'INV-2026-00001', issued_at = now(),"
        " due_date = current_date, seal = 'forged'",
    ],
)
def test_raw_sql_cannot_make_of_a_draft_what_it_is_not(draft: Invoice, statement: str) -> None:
    with pytest.raises(DatabaseError):
        run_sql(statement)


def test_a_draft_cannot_be_issued_under_a_number_that_its_series_does_not_count(draft: Invoice) -> None:
    series = "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2026', 1, '')"
    issue = (
        "UPDATE invoicing_invoice SET status = 'issued', number = '{}', issued_at = now(), due_date = current_date,"
        " seal = 'forged', series_id = (SELECT id FROM invoicing_invoiceseries)"
    )

    with pytest.raises(DatabaseError, match="does not count"):
        run_sql(series, issue.format("INV-2026-00077"))
    with pytest.raises(DatabaseError, match="does not count"):
        run_sql(series, issue.format("INV-2026-00001"))


def test_a_series_counts_several_documents_only_as_a_chain_of_seals() -> None:
    a_plan()
    for number in range(3):
        a_subscription(a_customer(f"cust_{number}"))
    drafts = draft_billing(as_of=AUGUST, at=AUGUST + timedelta(days=1)).invoices
    settle_constraints()
    series = "INSERT INTO invoicing_invoiceseries (prefix, next_number, last_seal) VALUES ('INV-2026', 1, '')"

    def issue(place: int, ordinal: int, previous: str) -> str:
        return (
            f"UPDATE invoicing_invoice SET status = 'issued', number = 'INV-2026-0000{ordinal}', issued_at = now(),"
            f" due_date = current_date, seal = 'seal {ordinal}', previous_seal = '{previous}',"
            f" series_id = (SELECT id FROM invoicing_invoiceseries) WHERE id = {drafts[place].pk}"
        )

    def count(upto: int, last: int) -> str:
        return f"UPDATE invoicing_invoiceseries SET next_number = {upto}, last_seal = 'seal {last}'"

    for forged in (
        # A gap, a seal that is not that of the one before, the wrong end, one that is not counted, one number in another spelling.
        (issue(0, 1, ""), issue(1, 3, "seal 1"), count(4, 3)),
        (issue(0, 1, ""), issue(1, 2, "seal 0"), count(3, 2)),
        (issue(0, 1, ""), issue(1, 2, "seal 1"), count(3, 1)),
        (issue(0, 1, ""), issue(1, 2, "seal 1"), issue(2, 3, "seal 2"), count(3, 2)),
        (issue(0, 1, "").replace("INV-2026-00001", "INV-2026-000001"), count(2, 1)),
    ):
        with pytest.raises(DatabaseError, match=r"count|not a new number"):
            run_sql(series, *forged)


def test_a_negative_total_is_refused(draft: Invoice) -> None:
    with pytest.raises(DatabaseError, match="negative"):
        run_sql(
            "UPDATE invoicing_invoiceline SET amount = -amount",
            "UPDATE invoicing_invoice SET subtotal = -subtotal, total = -total",
        )


def test_a_line_cannot_move_from_an_issued_invoice_to_a_draft(issued: Invoice) -> None:
    a_subscription(a_customer("cust_two"))
    [other] = draft_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_two").invoices

    with pytest.raises(DatabaseError, match="cannot be"):
        run_sql(f"UPDATE invoicing_invoiceline SET invoice_id = {other.pk}, position = position + 10")
    with pytest.raises(DatabaseError, match="cannot be"):
        run_sql(
            f"UPDATE invoicing_invoiceline SET invoice_id = {issued.pk}, position = position + 10"
            f" WHERE invoice_id = {other.pk}"
        )


def copies(invoice: int, *, moved: str, times: int = 1) -> str:
    """Return SQL that adds copies of all first lines to a draft, by one statement; the service of each begins 6 hours after the one before."""
    return f"""
        INSERT INTO invoicing_invoiceline SELECT (jsonb_populate_record(line, jsonb_build_object(
            'id', nextval(pg_get_serial_sequence('invoicing_invoiceline', 'id')), 'invoice_id', {invoice},
            'position', 100 * line.invoice_id + number, 'service_start', service_start + {moved} + number * interval '6 hours',
            'service_end', service_end + {moved} + number * interval '6 hours'))).*
          FROM invoicing_invoiceline line, generate_series(1, {times}) AS number WHERE position = 1
    """


def test_lines_that_are_added_together_are_looked_at_like_single_ones(draft: Invoice) -> None:
    year = "interval '1 year'"

    with pytest.raises(IntegrityError, match="charged already"):
        run_sql(copies(draft.pk, moved=year, times=2))
    with pytest.raises(IntegrityError, match="charged already"):
        run_sql(copies(draft.pk, moved="interval '1 day'"))
    a_subscription(a_customer("cust_two"))
    draft_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_two")
    with pytest.raises(IntegrityError, match="which another pays for"):
        run_sql(copies(draft.pk, moved=year))
    run_sql(copies(draft.pk, moved=year) + f" AND line.invoice_id = {draft.pk}")
    assert draft.lines.filter(position__gt=100).count() == 1, "of a service that nobody has charged a line may be added"


def test_the_same_service_is_never_charged_twice_whatever_the_bounds_of_the_periods(issued: Invoice) -> None:
    # a customer's zone whose rules change moves the bounds: the unique constraint on periods would not see it
    with pytest.raises(IntegrityError, match="charged already"):
        run_sql(
            """
            WITH copy AS (
                INSERT INTO invoicing_invoice (customer_id, status, currency, subtotal, total, amount_paid,
                    period_start, period_end, timezone, drafted_at, customer_name, customer_email, customer_address,
                    customer_tax_id, seller, settlement_channel, content_digest, previous_seal, seal)
                SELECT customer_id, 'draft', currency, subtotal, total, 0, period_start + interval '1 hour',
                    period_end + interval '1 hour', timezone, drafted_at, customer_name, '', '', '', '{}',
                    settlement_channel, 'x', '', ''
                FROM invoicing_invoice RETURNING id
            )
            INSERT INTO invoicing_invoiceline (invoice_id, position, subscription_id, price_id, description,
                meter_key, unit, quantity, currency, amount, service_start, service_end, window_count, event_count,
                windows_digest, known_through, rated, digest)
            SELECT copy.id, position, subscription_id, price_id, description, meter_key, unit, quantity, currency,
                amount, service_start + interval '1 hour', service_end + interval '1 hour', window_count, event_count,
                windows_digest, known_through, rated, digest
            FROM invoicing_invoiceline, copy
            """
        )


def test_a_posting_added_after_the_balance_was_checked_is_refused(issued: Invoice) -> None:
    entry = """
        WITH entry AS (
            INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
            VALUES ('payment', 'two steps', 'USD', 'balanced at first', now()) RETURNING id
        )
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', 'USD', CASE account.code WHEN '1000' THEN 10 ELSE -10 END
        FROM entry, invoicing_account account WHERE account.code IN ('1000', '1200')
    """
    more = """
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', 'USD', 5 FROM invoicing_journalentry entry, invoicing_account account
        WHERE entry.reference = 'two steps' AND account.code = '1000'
    """

    with pytest.raises(IntegrityError, match="all of them are written at once"):
        run_sql(entry, "SET CONSTRAINTS ALL IMMEDIATE", more)
    with pytest.raises(IntegrityError, match="all of them are written at once"):
        run_sql(entry, more)


def test_a_posting_added_after_a_check_that_its_own_statement_has_made_is_refused(issued: Invoice) -> None:
    early = """
        CREATE FUNCTION pg_temp.amount_of(number integer) RETURNS numeric LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            IF number = 3 THEN
                SET CONSTRAINTS ALL IMMEDIATE;
                SET CONSTRAINTS ALL DEFERRED;
            END IF;
            RETURN (ARRAY[10, -10, 5])[number];
        END $$
    """
    entry = """
        INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
        VALUES ('payment', 'in its midst', 'USD', 'balanced at first', now())
    """
    postings = """
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', 'USD', pg_temp.amount_of(number)
        FROM invoicing_journalentry entry, invoicing_account account, generate_series(1, 3) AS number
        WHERE entry.reference = 'in its midst' AND account.code = '1000'
    """

    with pytest.raises(IntegrityError, match="does not balance for legal entity main: sum 5"):
        run_sql(early, entry, postings)


def test_a_draft_line_that_was_tampered_with_is_not_issued(draft: Invoice) -> None:
    run_sql("UPDATE invoicing_invoiceline SET description = 'forged' WHERE position = 1")

    report = issue_billing(as_of=AUGUST, at=AUGUST)

    assert report.invoices == []
    assert "not what was rated" in report.failures[0].message


@pytest.mark.parametrize("status", ["paid", "issued"])
def test_an_invoice_is_not_paid_without_a_payment(issued: Invoice, status: str) -> None:
    paid = "total" if status == "paid" else "1.000"
    when = "now()" if status == "paid" else "NULL"

    with pytest.raises(IntegrityError, match="has no payments of"):
        run_sql(f"UPDATE invoicing_invoice SET amount_paid = {paid}, status = '{status}', paid_at = {when}")


@pytest.mark.parametrize("rated", ["{}", '{"inputs": {}}', '{"inputs": {"engine": "0"}}', "[]", "null", '"x"'])
def test_verify_names_a_line_whose_inputs_are_nonsense_and_goes_on(issued: Invoice, rated: str) -> None:
    behind_the_triggers(f"UPDATE invoicing_invoiceline SET rated = '{rated}' WHERE position = 2")

    findings = verify()

    assert any("line 2" in finding.subject and "rated again" in finding.message for finding in findings)
    assert explain_invoice(number="INV-2026-00001")["equal"] is False


@pytest.mark.parametrize(
    ("statement", "subject"),
    [
        (
            "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger AS 'BEGIN RETURN NEW; END' LANGUAGE plpgsql",
            "carved",
        ),
        (
            "ALTER TABLE invoicing_invoice DROP CONSTRAINT invoice_is_paid_or_credited_in_full",
            "invoice_is_paid_or_credited_in_full",
        ),
        ("DROP INDEX invoice_is_one_per_customer_and_period", "invoice_is_one_per_customer_and_period"),
        (
            "DROP TRIGGER {function} ON invoicing_invoice; CREATE TRIGGER {function} BEFORE UPDATE OF events_root"
            " ON invoicing_invoice FOR EACH ROW EXECUTE FUNCTION {function}()",
            "carved",
        ),
        (
            "DROP TRIGGER {function} ON invoicing_invoice; CREATE TRIGGER {function} BEFORE DELETE"
            " ON invoicing_invoice FOR EACH ROW EXECUTE FUNCTION {function}()",
            "carved",
        ),
        ("ALTER FUNCTION {function}() SET session_replication_role = replica", "carved"),
        ("ALTER FUNCTION {function}() SECURITY DEFINER", "carved"),
    ],
)
def test_verify_finds_a_guard_that_was_hollowed_out(issued: Invoice, statement: str, subject: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid"
            " WHERE tgrelid = 'invoicing_invoice'::regclass AND tgname LIKE 'pgtrigger_carved%'"
        )
        [function] = cursor.fetchone()
        cursor.execute(statement.format(function=function))

    assert any(finding.check == "guards are on" and subject in finding.subject for finding in verify())


def test_verify_finds_an_entry_that_stands_for_nothing(issued: Invoice) -> None:
    run_sql(
        """
        WITH entry AS (
            INSERT INTO invoicing_journalentry (kind, reference, currency, description, occurred_at)
            VALUES ('payment', 'manual:never happened', 'USD', 'forged', now()) RETURNING id
        )
        INSERT INTO invoicing_posting (entry_id, account_id, legal_entity_id, currency, amount)
        SELECT entry.id, account.id, 'main', 'USD', CASE account.code WHEN '1000' THEN 10 ELSE -10 END
        FROM entry, invoicing_account account WHERE account.code IN ('1000', '4000')
    """
    )

    assert any("never happened" in finding.subject for finding in verify())


def test_verify_finds_a_subscription_that_ended_before_what_is_charged_for_it(issued: Invoice) -> None:
    behind_the_triggers("UPDATE invoicing_subscription SET ended_at = '2026-07-15 00:00:00+00'")

    assert any(finding.subject == "invoice INV-2026-00001 line 1 (Base fee)" for finding in verify())


def test_a_published_version_and_its_prices_stay_whoever_publishes_another(issued: Invoice) -> None:
    a_plan("pro", {"key": "base", "name": "Base", "currency": "USD", "model": "flat", "unit_amount": "1"}, at=AUGUST)
    first, second = PlanVersion.objects.order_by("number")

    with pytest.raises(DatabaseError, match="cannot be"):
        run_sql(f"UPDATE invoicing_price SET plan_version_id = {second.pk} WHERE plan_version_id = {first.pk}")
