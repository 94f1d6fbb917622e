"""Coupons and discounts over HTTP."""

import pytest

from invoicing.subscriptions.discount import Discount
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import JULY, a_customer, a_plan, a_subscription

pytestmark = pytest.mark.django_db

LAUNCH = {
    "code": "LAUNCH20",
    "name": "Launch offer",
    "percent_off": "20",
    "duration": "repeating",
    "periods": 3,
    "plans": ["pro"],
    "redeem_by": "2090-01-01T00:00:00Z",
}


def test_a_coupon_is_made_redeemed_shown_on_the_preview_ended_and_closed() -> None:
    a_plan()
    a_subscription(a_customer(), started_at=JULY)
    caller = Caller()

    created = caller.post("/api/v1/coupons", LAUNCH)
    redeemed = caller.post("/api/v1/discounts", {"code": "launch20", "customer_id": "cust_acme"})
    again = caller.post("/api/v1/discounts", {"code": "LAUNCH20", "customer_id": "cust_acme"})
    preview = caller.post("/api/v1/invoices/preview", {"customer_id": "cust_acme"})
    closed = caller.post("/api/v1/coupons/LAUNCH20/close", {})
    refused = caller.post(
        "/api/v1/discounts", {"code": "LAUNCH20", "customer_id": "cust_acme", "subscription": "sub_cust_acme"}
    )
    ended = caller.post(f"/api/v1/discounts/{redeemed.json()['id']}/end", {})

    assert created.status_code == 201 and created.json() == LAUNCH | {"redeemed": 0, "closed_at": None}
    assert redeemed.status_code == again.status_code == 201
    assert (
        redeemed.json()
        == again.json()
        == caller.get("/api/v1/discounts?customer_id=cust_acme").json()["data"][0] | {"ended_at": None}
    )
    line = preview.json()["lines"][-1]
    assert (line["kind"], line["adjustment"], line["subscription"]) == ("adjustment", "discount", None)
    assert line["amount"]["amount"] == "-5.80"
    assert closed.json()["closed_at"] and closed.json()["redeemed"] == 1
    assert refused.status_code == 422 and set(fields_of(refused)) == {"code"}
    assert ended.json()["ended_at"]


@pytest.mark.parametrize(
    ("address", "body", "status", "field"),
    [
        ("/api/v1/coupons", {"code": "X"}, 422, "percent_off"),
        ("/api/v1/coupons", {"code": "X", "percent_off": "20", "plans": ["nowhere"]}, 422, "plans"),
        ("/api/v1/discounts", {"code": "NOBODY", "customer_id": "cust_acme"}, 404, "code"),
        ("/api/v1/discounts", {"code": "NOBODY", "customer_id": "cust_other"}, 404, "customer_id"),
        (
            "/api/v1/discounts",
            {"code": "NOBODY", "customer_id": "cust_acme", "subscription": "no"},
            404,
            "subscription",
        ),
        ("/api/v1/discounts", {"code": "NOBODY", "customer_id": "cust_acme", "colour": "red"}, 422, "colour"),
        ("/api/v1/discounts/77/end", {}, 404, "id"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(address: str, body: dict[str, object], status: int, field: str) -> None:
    a_customer()

    refused = Caller().post(address, body)

    assert refused.status_code == status and field in fields_of(refused)
    assert not Discount.objects.exists()
