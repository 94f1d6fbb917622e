"""Rows are asked for by many values at once, and found as one by one."""

import pytest
from django.db import connection
from django.db.models import Q

from billing_site.kernel.among import among, among_found
from invoicing.customers.models import Customer
from tests.factories import a_customer

pytestmark = pytest.mark.django_db


def test_those_and_only_those_are_found_whose_value_is_named() -> None:
    first, second, third = (a_customer(f"cust_{number}") for number in range(3))

    assert set(Customer.objects.filter(among("pk", [first.pk, third.pk]))) == {first, third}
    assert set(Customer.objects.filter(among("key", {"cust_1", "x'y\\, {"}))) == {second}
    assert set(Customer.objects.exclude(among("pk", [first.pk]))) == {second, third}


@pytest.mark.parametrize("name", ["", "NULL", "a, b", 'say "so"', "back\\slash\\", "{1,2}", "x'y", "line\nend \u2003"])
def test_a_text_is_found_as_it_is_however_it_is_written(name: str) -> None:
    customer = a_customer("cust_1")
    Customer.objects.filter(pk=customer.pk).update(name=name)
    a_customer("cust_2")

    assert list(Customer.objects.filter(among("name", [name, "nobody"]))) == [customer]


def test_no_value_is_no_row() -> None:
    a_customer("cust_1")

    assert not Customer.objects.filter(among("pk", [])).exists()
    assert not Customer.objects.filter(among("key", [])).exists()


def test_a_column_of_another_table_is_asked_as_filters_name_it() -> None:
    payer, account = a_customer("cust_payer"), a_customer("cust_account")
    Customer.objects.filter(pk=account.pk).update(billed_to=payer)

    found = Customer.objects.filter(Q(among("billed_to__key", ["cust_payer"])) | Q(among("billed_to", [account.pk])))

    assert [row.key for row in found] == ["cust_account"]


def test_the_same_is_found_where_no_index_is_asked() -> None:
    first, second, third = (a_customer(f"cust_{number}") for number in range(3))
    Customer.objects.filter(pk=second.pk).update(billed_to=first)

    assert set(Customer.objects.filter(among_found("key", ["cust_0", "cust_2", "nobody"]))) == {first, third}
    assert set(Customer.objects.filter(among_found("billed_to", [first.pk]))) == {second}
    assert set(Customer.objects.filter(among_found("created_at", {first.created_at}))) == {first}
    assert not Customer.objects.filter(among_found("key", [])).exists()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "key" in Customer.objects.filter(among("key", ["cust_0"])).explain().partition("Index Cond")[2]
    assert "Index Cond" not in Customer.objects.filter(among_found("key", ["cust_0"])).explain()
