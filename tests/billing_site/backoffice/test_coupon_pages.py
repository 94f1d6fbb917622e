"""Coupons and discounts in the back office: made, redeemed, closed and ended with a reason, and shown where people look."""

import pytest
from django.test import Client

from invoicing.catalog.coupon import Coupon
from invoicing.subscriptions.discount import Discount
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import a_customer, a_plan, a_subscription
from tests.invoicing.test_discounts import a_coupon

pytestmark = pytest.mark.django_db

COUPONS, DISCOUNTS = "/admin/invoicing/coupon/", "/admin/invoicing/discount/"
FORM = {
    "code": "spring",
    "name": "Spring",
    "percent_off": "15",
    "duration": "repeating",
    "periods": "2",
    "minimum_amount": "0",
    "position": "100",
    "prices": "base",
    "reason": "offer",
}


def test_a_coupon_is_made_redeemed_for_a_customer_ended_and_closed(finance: Client) -> None:
    a_plan()
    acme = a_customer()
    a_subscription(acme)

    made = finance.post(f"{COUPONS}add/", FORM, follow=True)
    coupon = Coupon.objects.get()
    finance.post(f"{DISCOUNTS}add/", {"coupon": coupon.pk, "customer": acme.pk, "reason": "asked"}, follow=True)
    discount = Discount.objects.get()
    customer_page = text_of(finance.get(f"/admin/invoicing/customer/{acme.pk}/change/"))
    pages = [
        text_of(finance.get(url))
        for url in (COUPONS, DISCOUNTS, f"{COUPONS}{coupon.pk}/change/", f"{DISCOUNTS}{discount.pk}/change/")
    ]
    finance.post(f"{DISCOUNTS}{discount.pk}/end/", {"reason": "over"})
    finance.post(f"{COUPONS}{coupon.pk}/close/", {"reason": "over"})

    assert made.status_code == 200 and (coupon.code, coupon.prices, coupon.periods) == ("SPRING", ["base"], 2)
    assert "15 % off, 2 billing periods" in customer_page
    assert all("SPRING" in page for page in pages)
    discount.refresh_from_db()
    coupon.refresh_from_db()
    assert discount.ended_at and coupon.closed_at
    assert [row.history_change_reason for row in coupon.history.order_by("history_id")] == [
        "fiona: offer",
        "fiona: over",
    ]


def test_what_a_coupon_cannot_be_is_told_at_its_field_and_nothing_is_saved(finance: Client) -> None:
    a_plan()
    page = text_of(finance.post(f"{COUPONS}add/", FORM | {"periods": ""}))
    unknown = finance.post(f"{COUPONS}add/", FORM | {"prices": "nothing"}).context["adminform"].form.errors

    assert "a repeating coupon says for how many billing periods" in page
    assert unknown == {"prices": ["there is no price 'nothing'"]}
    assert not Coupon.objects.exists()


def test_whoever_only_looks_makes_and_ends_nothing(support: Client) -> None:
    a_plan()
    coupon = a_coupon()

    answers = [
        support.get(f"{COUPONS}add/"),
        support.get(f"{DISCOUNTS}add/"),
        support.post(f"{COUPONS}{coupon.pk}/close/", {"reason": "x"}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert support.get(COUPONS).status_code == 200
