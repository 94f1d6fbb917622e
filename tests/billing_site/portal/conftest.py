"""A customer in Berlin with two months of usage, who has followed a link into the portal."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from billing_site.kernel import clock
from invoicing.customers.portal_links import link_for
from invoicing.invoices.models import Invoice
from invoicing.workflows.run_billing import issue_billing
from tests.factories import MILLION_TIERS, a_customer, a_plan, a_subscription, usd_fee, usd_per_action, use

# Midnight of 1 July and 1 August 2026 in Berlin.
JULY_BERLIN = datetime(2026, 6, 30, 22, tzinfo=UTC)
AUGUST_BERLIN = datetime(2026, 7, 31, 22, tzinfo=UTC)
# Noon of 11 August in Berlin: ten days and twelve hours of thirty-one days are over.
NOW = datetime(2026, 8, 11, 10, tzinfo=UTC)

Visit = Callable[[str], Client]


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Set the wall clock; it stands still until it is set again."""

    def set_clock(at: datetime) -> None:
        monkeypatch.setattr(clock, "now", lambda: at)

    set_clock(NOW)
    return set_clock


@pytest.fixture
def visit(present) -> Visit:
    """Open the portal of a customer by following a link."""

    def follow_link(customer_key: str) -> Client:
        client = Client()
        answer = client.get(link_for(customer_key=customer_key).partition("8000")[2], follow=True)
        assert answer.status_code == 200
        return client

    return follow_link


@pytest.fixture
def acme(db) -> None:
    """Acme, Berlin: USD 29 a month and tiers of actions; used in July and so far in August."""
    a_plan("pro", usd_fee(), usd_per_action(model="graduated", unit_amount=None, tiers=MILLION_TIERS))
    a_subscription(a_customer(timezone="Europe/Berlin"), started_at=JULY_BERLIN)
    # 23:30 on 4 July and 00:30 on 5 July in Berlin: one UTC day, two days of the customer.
    use("cust_acme", "900000", at=datetime(2026, 7, 4, 21, 30, tzinfo=UTC))
    use("cust_acme", "600000.5", at=datetime(2026, 7, 4, 22, 30, tzinfo=UTC))
    use("cust_acme", "210000", at=AUGUST_BERLIN + timedelta(days=3))


@pytest.fixture
def july(acme) -> Invoice:
    """Acme's issued invoice for July."""
    report = issue_billing(as_of=AUGUST_BERLIN, at=AUGUST_BERLIN + timedelta(hours=7))
    assert not report.failures
    return report.invoices[0]
