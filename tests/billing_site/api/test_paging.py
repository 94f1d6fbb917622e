"""Pages are stable while rows are added."""

import pytest

from invoicing.customers.models import Customer
from invoicing.entities.operations import first_entity
from tests.billing_site.api.caller import Caller, fields_of

pytestmark = pytest.mark.django_db


def some_customers(*numbers: int) -> None:
    first_entity()
    Customer.objects.bulk_create(Customer(key=f"c{number}", name=f"C {number}", currency="EUR") for number in numbers)


def keys(page: dict) -> list[str]:
    return [customer["key"] for customer in page["data"]]


def test_pages_go_from_the_newest_to_the_oldest_and_back():
    some_customers(*range(1, 8))
    caller = Caller()

    first = caller.get("/api/v1/customers?limit=3").json()
    some_customers(8, 9)
    second = caller.get(f"/api/v1/customers?limit=3&cursor={first['next']}").json()
    third = caller.get(f"/api/v1/customers?limit=3&cursor={second['next']}").json()
    back = caller.get(f"/api/v1/customers?limit=3&cursor={third['previous']}").json()
    front = caller.get(f"/api/v1/customers?limit=3&cursor={back['previous']}").json()
    newest = caller.get(f"/api/v1/customers?limit=3&cursor={front['previous']}").json()

    assert (keys(first), keys(second), keys(third)) == (["c7", "c6", "c5"], ["c4", "c3", "c2"], ["c1"])
    assert (first["previous"], third["next"]) == (None, None)
    assert (keys(back), keys(front), keys(newest)) == (["c4", "c3", "c2"], ["c7", "c6", "c5"], ["c9", "c8"])
    assert newest["previous"] is None
    assert keys(caller.get(f"/api/v1/customers?limit=3&cursor={back['next']}").json()) == ["c1"]


def test_an_empty_list_is_one_empty_page():
    assert Caller().get("/api/v1/customers").json() == {"data": [], "next": None, "previous": None}


def test_a_page_has_fifty_rows_unless_said_otherwise_and_two_hundred_at_most():
    some_customers(*range(1, 203))
    caller = Caller()

    assert len(caller.get("/api/v1/customers").json()["data"]) == 50
    assert len(caller.get("/api/v1/customers?limit=200").json()["data"]) == 200
    assert len(caller.get("/api/v1/customers?limit=1").json()["data"]) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1.0", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=٣", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=ä", "cursor"),
        ("cursor=bzE4NDQ2NzQ0MDczNzA5NTUxNjE2", "cursor"),
        ("cursor=eDE", "cursor"),
        ("cursor=by0x", "cursor"),
        ("custmer_id=a", "custmer_id"),
        ("limit=5&limit=6", "limit"),
    ],
)
def test_a_parameter_that_cannot_be_understood_is_named(query, field):
    response = Caller().get(f"/api/v1/customers?{query}")

    assert response.status_code == 422
    assert set(fields_of(response)) == {field}
