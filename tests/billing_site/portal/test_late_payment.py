"""The page of an invoice that is paid late says what that costs, how it came about, and what was charged or waived."""

from decimal import Decimal

import pytest
from moneyed import Money

from dunning.overdue.operations import charge_late_payment, waive_late_payment
from tests.billing_site.portal.reading import text_of
from tests.dunning.chasing import WHO, chase, late_customer, local
from tests.dunning.overdue.test_late_payment import terms

pytestmark = pytest.mark.django_db


def test_a_customer_reads_what_paying_late_costs_and_what_became_of_it(present, visit) -> None:
    invoice = late_customer(fee="3650")
    customer = invoice.customer
    address = f"/portal/invoices/{invoice.number}/"
    client = visit(customer.key)

    def page(day: str) -> str:
        present(local(f"{day} 12:00", customer))
        return text_of(client.get(address).content.decode())

    assert "Late payment" not in page("2026-08-20"), "without terms it costs nothing"
    terms(points=Decimal("8.5"), lump_sum=Money("40", "USD"), reminder_fee=Money("5", "USD"), free_reminders=0)
    assert "Late payment" not in page("2026-08-15"), "it is not late before its day is over"
    chase(local("2026-08-16 09:00", customer))
    told = page("2026-08-26")
    assert "Interest is 9.5 % a year: a base rate of 1 % and 8.5 points" in told
    assert "Once for an overdue invoice USD 40.00 are added." in told
    assert "So far, until yesterday: USD 54.50" in told
    assert "not charged Interest, 16 August 2026 to 25 August 2026 3,650 for 10 days at 9.5 % USD 9.50" in told
    assert "not charged Lump sum USD 40.00 not charged Fee for the reminder of 16 August 2026 USD 5.00" in told
    assert "Each reminder costs USD 5.00." in told

    at = local("2026-08-26 12:00", customer)
    charging = charge_late_payment(customer_id=customer.pk, at=at, **WHO)
    waive_late_payment(customer_id=customer.pk, at=local("2026-08-28 12:00", customer), **WHO)
    told = page("2026-08-28")
    assert f"charged by {charging.number} Interest, 16 August 2026 to 25 August 2026" in told
    assert "waived Interest, 26 August 2026 to 27 August 2026 3,650 for 2 days at 9.5 % USD 1.90" in told
    assert "So far" not in told and "as we agreed by phone" not in told, "our reasons are ours"

    customer.language = "de"
    customer.save()
    german = page("2026-08-28")
    assert "Die Zinsen betragen 9,5 % im Jahr: ein Basiszinssatz von 1 % und 8,5 Prozentpunkte" in german
    assert "erlassen Zinsen, 26. August 2026 bis 27. August 2026 3.650 für 2 Tage zu 9,5 % 1,90 USD" in german
