"""Staff who look at the back office, and a small company for them to look at."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from billing_site.backoffice.roles import FINANCE, SUPPORT, ensure_roles
from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import draft_billing
from tests.factories import JULY, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

AT = datetime(2026, 8, 3, 9, tzinfo=UTC)


@pytest.fixture
def administrator(db: Any, client: Client) -> Client:
    """A signed-in administrator."""
    client.force_login(User.objects.create_superuser("root", "root@example.com", "root"))
    return client


@pytest.fixture
def finance(db: Any) -> Client:
    """A signed-in member of the group Finance."""
    return a_member("fiona", FINANCE)


@pytest.fixture
def support(db: Any) -> Client:
    """A signed-in member of the group Support."""
    return a_member("sam", SUPPORT)


@pytest.fixture
def drafts(db: Any) -> list[Invoice]:
    """Drafts of July: Acme in USD by bank transfer, Kyoto in JPY through Stripe."""
    fee_in_yen = {**usd_fee("4000"), "currency": "JPY"}
    a_plan("pro", usd_fee("29"), usd_per_action("0.01"), fee_in_yen)
    acme = a_customer("cust_acme")
    kyoto = a_customer("cust_kyoto", name="Kyoto KK", currency="JPY", settlement_channel="stripe")
    for customer in (acme, kyoto):
        a_subscription(customer, started_at=JULY)
    use("cust_acme", "250", at=datetime(2026, 7, 9, 12, tzinfo=UTC), key="first")
    return draft_billing(as_of=datetime(2026, 8, 1, tzinfo=UTC), at=AT).invoices


def a_member(name: str, group: str) -> Client:
    ensure_roles()
    person = User.objects.create_user(name, is_staff=True)
    person.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(person)
    return client
