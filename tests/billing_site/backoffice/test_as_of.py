"""Any tracked row can be looked at as it was: who made it so, what it said, and what of that is different now."""

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.kernel.history import save_with_reason
from invoicing.customers.models import Customer
from tests.factories import a_customer

pytestmark = pytest.mark.django_db


@pytest.fixture
def renamed() -> tuple[Customer, datetime]:
    """A customer who is renamed a day after he came, and when he came."""
    customer = a_customer(name="Acme GmbH")
    came = customer.history.get().history_date  # type: ignore[attr-defined]
    customer.name, customer._history_date = "Acme & Sons", came + timedelta(days=1)  # type: ignore[attr-defined]
    save_with_reason(customer, actor="fiona", reason="the sons joined")
    return customer, came


def shown(client: Client, customer: Customer, at: str) -> tuple[object, str]:
    page = client.get(reverse("admin:invoicing_customer_history", args=[customer.pk]), {"at": at})
    return page.context["then"], page.content.decode()


@pytest.mark.requirement("S0-113")
def test_a_customer_is_shown_as_it_was_beside_what_it_is_now(
    administrator: Client, renamed: tuple[Customer, datetime]
) -> None:
    customer, came = renamed

    then, page = shown(administrator, customer, f"{came:%Y-%m-%dT%H:%M:%S}")

    assert (then.change.verb, then.change.reason) == ("created", "set up")  # type: ignore[attr-defined]
    fields = {field.name: (field.then, field.now) for field in then.fields}  # type: ignore[attr-defined]
    assert fields["name"] == ("Acme GmbH", "Acme & Sons")
    assert fields["currency"] == ("USD", "USD")
    assert "Acme &amp; Sons" in page


def test_from_the_second_of_a_change_on_it_is_as_it_is_now(
    administrator: Client, renamed: tuple[Customer, datetime]
) -> None:
    customer, came = renamed

    then, _ = shown(administrator, customer, f"{came + timedelta(days=1):%Y-%m-%dT%H:%M:%S}")

    assert (then.change.actor, then.change.reason) == ("fiona", "the sons joined")  # type: ignore[attr-defined]
    assert all(field.then == field.now for field in then.fields)  # type: ignore[attr-defined]


def test_before_its_first_change_it_did_not_exist_and_a_moment_that_is_none_is_refused_in_words(
    administrator: Client, renamed: tuple[Customer, datetime]
) -> None:
    customer, came = renamed

    _, before = shown(administrator, customer, f"{came - timedelta(days=1):%Y-%m-%dT%H:%M:%S}")
    then, wrong = shown(administrator, customer, "next summer")

    assert "It did not exist yet" in before
    assert then is None
    assert "Say when: 2026-07-01 09:30, in UTC." in wrong


def test_each_change_of_the_list_leads_to_the_row_as_it_was_then(
    administrator: Client, renamed: tuple[Customer, datetime]
) -> None:
    customer, came = renamed

    page = administrator.get(reverse("admin:backoffice_changes"), {"model": "invoicing.customer"}).content.decode()

    assert f'{reverse("admin:invoicing_customer_history", args=[customer.pk])}?at={came:%Y-%m-%dT%H:%M:%S}"' in page
