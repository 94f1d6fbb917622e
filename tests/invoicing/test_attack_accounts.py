"""Raw SQL and races against accounts that are billed together: no chain, no stranger's line, no account that owes twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import IntegrityError, connection

from billing_site.kernel.errors import BillingError
from invoicing.customers.models import Customer
from invoicing.customers.operations import change_customer
from invoicing.invoices.models import Invoice
from invoicing.subscriptions.amend import change_quantity
from invoicing.workflows.issue_invoice import issue_invoice
from invoicing.workflows.run_billing import draft_billing, issue_billing
from invoicing.workflows.verify import verify
from tests.factories import AUGUST, JULY, a_customer, a_plan, a_subscription
from tests.invoicing.accounts import EAST, a_company, an_account, billed, by_account
from tests.invoicing.selling_entities import an_entity
from tests.invoicing.test_attack_guards import behind_the_triggers, run_sql
from tests.invoicing.test_credits import grant
from tests.races import at_once

WHO = {"actor": "test", "reason": "agreed"}


def id_of(key: str) -> int:
    return Customer.objects.get(key=key).pk


@pytest.mark.django_db
def test_no_chain_no_circle_and_no_other_terms() -> None:
    an_entity()
    a_company()
    a_customer("cust_euro", currency="EUR")
    a_customer("cust_berlin", timezone="Europe/Berlin")
    a_customer("cust_us", legal_entity="us")
    a_customer("cust_alone")

    for key, payer, words in (
        ("cust_alone", EAST, "who is billed itself"),
        ("cust_alone", "cust_alone", "who is billed itself"),
        ("cust_acme", "cust_alone", "others are billed to it"),
        ("cust_euro", "cust_acme", "same currency"),
        ("cust_berlin", "cust_acme", "same currency"),
        ("cust_us", "cust_acme", "same currency"),
    ):
        with pytest.raises(IntegrityError, match=words):
            run_sql(f"UPDATE invoicing_customer SET billed_to_id = {id_of(payer)} WHERE key = '{key}'")
    for key in ("cust_acme", EAST):
        with pytest.raises(IntegrityError, match=r"same currency|others are billed"):
            run_sql(f"UPDATE invoicing_customer SET legal_entity_id = 'us' WHERE key = '{key}'")


@pytest.mark.django_db
def test_who_has_invoices_or_credit_is_no_account_and_an_invoiced_account_stays() -> None:
    a_company()
    alone = a_customer("cust_alone")
    grant(alone, "5")
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST, customer_key="cust_acme").invoices

    with pytest.raises(IntegrityError, match="of its own"):
        run_sql(f"UPDATE invoicing_customer SET billed_to_id = {id_of('cust_acme')} WHERE key = 'cust_alone'")
    with pytest.raises(IntegrityError, match="is on invoices or drafts"):
        run_sql(f"UPDATE invoicing_customer SET billed_to_id = NULL WHERE key = '{EAST}'")
    with pytest.raises(IntegrityError, match=r"customer|protected|violates"):
        run_sql("DELETE FROM invoicing_customer WHERE key = 'cust_acme'")
    assert draft.customer.key == "cust_acme"


@pytest.mark.django_db
def test_an_account_has_no_invoice_credit_or_coupon_and_no_line_stands_with_a_stranger() -> None:
    a_company()
    stranger = a_customer("cust_stranger")
    a_subscription(stranger)
    drafts = draft_billing(as_of=AUGUST, at=AUGUST).invoices
    of_acme, of_stranger = sorted(drafts, key=lambda one: one.customer.key)

    with pytest.raises(IntegrityError, match="is billed to another"):
        run_sql(f"UPDATE invoicing_invoice SET customer_id = {id_of(EAST)} WHERE id = {of_acme.pk}")
    with pytest.raises(IntegrityError, match="which another pays for"):
        run_sql(
            f"UPDATE invoicing_invoiceline SET invoice_id = {of_stranger.pk}, position = 99"
            f" WHERE invoice_id = {of_acme.pk} AND position = 3"
        )
    for table, columns, values in (
        (
            "invoicing_creditgrant",
            "key, kind, name, currency, amount, priority, effective_at, plans, meters, granted_at, actor, reason",
            "'x', 'promotional', 'x', 'USD', 5, 1, now(), '{}', '{}', now(), 'x', 'x'",
        ),
        (
            "invoicing_topuprule",
            "key, currency, threshold, amount, max_per_month, set_at, actor, reason, state, state_since, retired_by,"
            " retired_because, seen_through, problem",
            "'x', 'USD', 5, 5, 1, now(), 'x', 'x', 'new', now(), '', '', 0, ''",
        ),
    ):
        with pytest.raises(IntegrityError, match="is billed to another"):
            run_sql(f"INSERT INTO {table} (customer_id, {columns}) VALUES ({id_of(EAST)}, {values})")


@pytest.mark.django_db
def test_the_names_of_the_accounts_are_sealed() -> None:
    a_company()
    july = billed()

    with pytest.raises(IntegrityError, match="cannot be changed"):
        run_sql(f"UPDATE invoicing_invoice SET accounts = '{{}}' WHERE id = {july.pk}")
    behind_the_triggers(f"UPDATE invoicing_invoice SET accounts = '{{}}' WHERE id = {july.pk}")

    assert ("seals hold", f"invoice {july.number}") in {(one.check, one.subject) for one in verify()}


@contextmanager
def a_session() -> Iterator[Any]:
    with psycopg.connect(**connection.get_connection_params()) as other:
        yield other


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_two_sessions_make_no_chain_however_they_are_isolated(level: str) -> None:
    for key in ("cust_a", "cust_b", "cust_c"):
        a_customer(key)
    a, b, c = (id_of(key) for key in ("cust_a", "cust_b", "cust_c"))
    bill_to = "UPDATE invoicing_customer SET billed_to_id = %s WHERE id = %s"

    with a_session() as first, a_session() as second:
        for session in (first, second):
            session.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
            session.execute("SELECT count(*) FROM invoicing_customer")
        first.execute(bill_to, [b, a])

        def chain() -> None:
            second.execute(bill_to, [c, b])
            second.commit()

        def commit() -> None:
            first.commit()

        outcomes = at_once(chain, commit)

    assert [type(one).__name__ for one in outcomes if isinstance(one, BaseException)]
    assert list(Customer.objects.exclude(billed_to=None).values_list("key", flat=True)) == ["cust_a"]


@pytest.mark.django_db(transaction=True)
def test_accounts_that_bill_each_other_at_once_end_in_one_direction_or_none() -> None:
    a, b = a_customer("cust_a"), a_customer("cust_b")

    outcomes = at_once(
        lambda: change_customer(customer=a, changes={"billed_to": "cust_b"}, **WHO),
        lambda: change_customer(customer=b, changes={"billed_to": "cust_a"}, **WHO),
    )

    refused = [one for one in outcomes if isinstance(one, BaseException)]
    assert len(refused) == 1 and isinstance(refused[0], BillingError)
    assert Customer.objects.exclude(billed_to=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_runs_changes_and_issues_of_one_company_at_once_deadlock_nobody_and_bill_everything_once() -> None:
    _, east, west = a_company()
    [of_east], [of_west] = east.subscriptions.all(), west.subscriptions.all()
    [draft] = draft_billing(as_of=AUGUST, at=AUGUST).invoices

    outcomes = at_once(
        lambda: issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=1)),
        lambda: change_quantity(subscription=of_east, quantity=2, at=AUGUST, **WHO),
        lambda: change_quantity(subscription=of_west, quantity=3, at=JULY + timedelta(days=40), **WHO),
        lambda: issue_invoice(invoice_id=draft.pk, at=AUGUST + timedelta(hours=1), **WHO),
        lambda: change_customer(customer=east, changes={"name": "East Ltd"}, **WHO),
    )

    unexpected = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, BillingError)]
    assert not unexpected, unexpected
    [july] = Invoice.objects.all()
    assert july.number == "INV-2026-00001" and len(by_account(july)) == 3
    assert verify() == []


@pytest.mark.django_db(transaction=True)
def test_an_account_that_leaves_while_it_is_billed_is_billed_by_one_of_both() -> None:
    _, east, _ = a_company()

    outcomes = at_once(
        lambda: issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=1)),
        lambda: change_customer(customer=east, changes={"billed_to": ""}, **WHO),
    )
    issue_billing(as_of=AUGUST, at=AUGUST + timedelta(hours=2))

    unexpected = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, BillingError)]
    assert not unexpected, unexpected
    charged = [key for invoice in Invoice.objects.all() for key in by_account(invoice)]
    assert sorted(charged) == ["cust_acme", EAST, "cust_west"]
    assert verify() == []


@pytest.mark.django_db
def test_an_account_joins_nobody_whose_invoice_of_its_time_is_issued() -> None:
    a_plan()
    a_subscription(a_customer())
    billed()
    late = a_customer("cust_late")
    a_subscription(late)

    with pytest.raises(IntegrityError, match="periods whose invoice is issued"):
        run_sql(f"UPDATE invoicing_customer SET billed_to_id = {id_of('cust_acme')} WHERE key = 'cust_late'")
    a_subscription(an_account("cust_new"), started_at=AUGUST)


@pytest.mark.django_db
def test_verify_finds_a_line_that_stands_with_a_stranger_and_a_chain() -> None:
    a_company()
    billed()
    stranger = a_customer("cust_stranger")
    behind_the_triggers(f"UPDATE invoicing_customer SET billed_to_id = {stranger.pk} WHERE key = '{EAST}'")
    behind_the_triggers(f"UPDATE invoicing_customer SET billed_to_id = {id_of(EAST)} WHERE key = 'cust_west'")

    found = {(one.subject, one.message) for one in verify() if one.check == "accounts are billed to who pays"}

    assert ("line 3 of INV-2026-00001", "another customer pays for subscription sub_cust_east") in found
    assert ("customer cust_west", "it is billed to cust_east, which is billed to another") in found
