"""Objections of before stand with their invoices: the statements of the migration carry a row over, and back."""

from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from moneyed import Money

from dunning.arrangements.operations import object_to
from tests.dunning.chasing import WHO, late_customer, local
from tests.factories import settle_constraints

pytestmark = pytest.mark.django_db


def run(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_a_database_with_an_objection_migrates_in_one_transaction_and_back() -> None:
    invoice = late_customer()
    object_to(invoice_id=invoice.pk, amount=Money("11", "USD"), at=local("2026-08-16 09:00", invoice.customer), **WHO)
    settle_constraints()
    for table in ("carried", "back"):
        run(f"CREATE TABLE {table} (LIKE invoicing_objection INCLUDING ALL)")
        run(
            f"ALTER TABLE {table} ADD FOREIGN KEY (invoice_id) REFERENCES invoicing_invoice DEFERRABLE INITIALLY DEFERRED"
        )
    carried = import_module("dunning.migrations.0003_carry_objections_over").carried

    run(carried("invoicing_objection", "carried"))
    run("SET CONSTRAINTS ALL DEFERRED")
    run(carried("carried", "back"))

    assert run("TABLE back") == run("TABLE invoicing_objection") and len(run("TABLE back")) == 1
