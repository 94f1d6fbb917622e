"""Many rows written by one statement are written as they would be one by one."""

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from billing_site.kernel.bulk import insert_rows, update_rows
from invoicing.customers.models import Customer
from invoicing.entities.operations import first_entity
from tests.factories import a_customer

pytestmark = pytest.mark.django_db
AS_GIVEN = {
    "name": 'Tab\t, line\nend, back\\slash, "quoted", \\N',
    "currency": "USD",
    "email": "",
    "late_materiality": Decimal("0.50"),
}


def test_each_row_gets_its_own_values_and_nothing_else_is_touched() -> None:
    rows = [a_customer(f"cust_{number}") for number in range(3)]
    for number, row in enumerate(rows):
        row.name, row.net_terms_days, row.email = f'Name {{{number}}}, "quoted" \\ NULL', number, "not@written.example"

    update_rows(rows, fields=["name", "net_terms_days"])

    stored = list(Customer.objects.order_by("pk").values_list("name", "net_terms_days", "email"))
    assert stored == [(row.name, row.net_terms_days, "ap@acme.example") for row in rows]


def test_what_all_rows_get_is_written_to_each_and_to_no_other() -> None:
    other, *rows = (a_customer(f"cust_{number}") for number in range(3))
    for row in rows:
        row.name, row.net_terms_days, row.address = 'Same, "quoted" \\ NULL', 77, ""

    update_rows(rows, fields=["name", "net_terms_days", "address"])

    stored = list(Customer.objects.order_by("pk").values_list("name", "net_terms_days", "address"))
    assert stored == [(other.name, other.net_terms_days, other.address), *[('Same, "quoted" \\ NULL', 77, "")] * 2]


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


def test_new_rows_are_stored_as_one_by_one_with_numbers_in_their_order() -> None:
    first_entity()
    one_by_one = Customer.objects.create(**AS_GIVEN, key="cust_0")
    rows = [Customer(**AS_GIVEN, key=f"cust_{number}") for number in range(1, 4)]

    insert_rows(rows)

    assert [row.pk for row in rows] == sorted(row.pk for row in rows)
    assert not any(row._state.adding for row in rows)
    stored = list(Customer.objects.order_by("pk").values())
    assert [row["key"] for row in stored] == ["cust_0", "cust_1", "cust_2", "cust_3"]
    apart = {"id", "key", "created_at"}
    assert all(
        {name: row[name] for name in row.keys() - apart} == {name: stored[0][name] for name in row.keys() - apart}
        for row in stored
    )
    assert all(row["created_at"] for row in stored), "the database fills it in"
    assert one_by_one.pk < rows[0].pk


def test_a_trigger_sees_each_new_row_and_refuses_all_of_them_by_djangos_error() -> None:
    first_entity()
    rows = [Customer(**AS_GIVEN, key="cust_1"), Customer(**{**AS_GIVEN, "currency": "usd"}, key="cust_2")]

    with pytest.raises(IntegrityError, match="customer_currency_is_a_code"), transaction.atomic():
        insert_rows(rows)

    assert not Customer.objects.exists()


def test_no_new_rows_are_nothing() -> None:
    with CaptureQueriesContext(connection) as asked:
        insert_rows([])

    assert len(asked) == 0


def test_an_amount_that_is_no_number_is_refused_as_by_a_single_save() -> None:
    first_entity()
    row = Customer(**{**AS_GIVEN, "late_materiality": Decimal("NaN")}, key="cust_1")

    with pytest.raises(ValidationError), transaction.atomic():
        insert_rows([row])
    with pytest.raises(ValidationError), transaction.atomic():
        row.save()
