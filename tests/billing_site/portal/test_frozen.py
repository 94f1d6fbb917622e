"""A customer whose payment is disputed sees why it is not served."""

import pytest

from tests.billing_site.portal.reading import text_of
from tests.factories import a_customer
from tests.invoicing.disputing import decided, disputed, paid_by_card
from tests.invoicing.selling import item, once

pytestmark = [pytest.mark.django_db, pytest.mark.requirement("S0-047")]


def test_who_disputes_a_payment_reads_that_it_is_not_served_until_it_is_decided(visit):
    customer = a_customer(settlement_channel="stripe", payment_method="pm_1")
    payment = paid_by_card(once(customer, item("10", "10")))
    browser = visit(customer.key)
    told = "A payment by your card is disputed Until your bank has decided, access is refused"

    dispute = disputed(payment)
    assert told in text_of(browser.get("/portal/").content.decode())

    decided(dispute, "won")
    assert told not in text_of(browser.get("/portal/").content.decode())
