"""Many rows written by one statement are written as they would be one by one."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_site.kernel.bulk import update_rows
from invoicing.customers.models import Customer
from tests.factories import a_customer

pytestmark = pytest.mark.django_db


def test_each_row_gets_its_own_values_and_nothing_else_is_touched() -> None:
    rows = [a_customer(f"cust_{number}") for number in range(3)]
    for number, row in enumerate(rows):
        row.name, row.net_terms_days, row.email = f'Name {{{number}}}, "quoted" \\ NULL', number, "not@written.example"

    update_rows(rows, fields=["name", "net_terms_days"])

    stored = list(Customer.objects.order_by("pk").values_list("name", "net_terms_days", "email"))
    assert stored == [(row.name, row.net_terms_days, "ap@acme.example") for row in rows]


def test_what_does_not_fit_a_column_is_refused_and_never_cut() -> None:
    rows = [a_customer(f"cust_{number}") for number in range(2)]
    rows[1].name = "x" * 1000

    with pytest.raises(DatabaseError), transaction.atomic():
        update_rows(rows, fields=["name"])

    assert not Customer.objects.filter(name__startswith="xxx").exists()


def test_a_row_that_is_not_there_is_told() -> None:
    row = a_customer("cust_gone")
    gone = Customer(pk=row.pk + 1, key="nobody", name="Nobody")

    with pytest.raises(AssertionError, match="each row is there"):
        update_rows([row, gone], fields=["name"])


def test_nothing_is_nothing() -> None:
    with CaptureQueriesContext(connection) as asked:
        update_rows([], fields=["name"])

    assert len(asked) == 0
