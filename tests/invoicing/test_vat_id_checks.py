"""VAT ids asked about at a register: answers are kept, an unknown id holds invoices back, silence means nothing."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.db import DatabaseError

from invoicing.customers.models import Customer
from invoicing.tax.models import VatIdCheck
from invoicing.tax.operations import set_customer_tax
from invoicing.tax.vat_id_checks import check_vat_ids
from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller
from tests.factories import AUGUST, a_customer, a_plan, a_subscription
from tests.invoicing.late import BILLED_AT
from tests.invoicing.test_attack_guards import run_sql
from tests.invoicing.test_taxes import BY, germany

pytestmark = pytest.mark.django_db


class Register(BaseHTTPRequestHandler):
    """Speaks as VIES does."""

    answer: dict[str, Any] = {}
    status = 200
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.answer).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def register(settings: Any) -> Iterator[type[Register]]:
    Register.answer, Register.status, Register.asked = {"userError": "VALID", "name": "ACME SARL"}, 200, []
    Register.answer["requestIdentifier"] = "WAPI1"
    server = HTTPServer(("127.0.0.1", 0), Register)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.VAT_ID_CHECK_URL = f"http://127.0.0.1:{server.server_port}/rest-api/"
    yield Register
    server.shutdown()
    server.server_close()


@pytest.fixture
def acme() -> Customer:
    germany()
    a_plan()
    customer = a_customer()
    a_subscription(customer)
    set_customer_tax(customer=customer, country="FR", vat_id="FR40303265045", **BY)
    return customer


def test_an_id_is_asked_about_once_and_again_after_a_month_with_our_own_number(
    acme: Customer, register: type[Register]
) -> None:
    asked = [len(check_vat_ids(at=AUGUST + timedelta(days=days))) for days in (0, 0, 29, 31)]

    assert asked == [1, 0, 0, 1]
    assert register.asked[0] == (
        "/rest-api/ms/FR/vat/40303265045?requesterMemberStateCode=DE&requesterNumber=136695976"
    )
    told = Caller().get("/api/v1/customers/cust_acme/tax").json()["checked"]
    assert (told["is_valid"], told["registered_name"], told["reference"]) == (True, "ACME SARL", "WAPI1")
    with pytest.raises(DatabaseError):
        run_sql("UPDATE invoicing_vatidcheck SET is_valid = NOT is_valid")


def test_an_id_that_the_register_does_not_know_holds_the_invoice_back_until_it_does(
    acme: Customer, register: type[Register]
) -> None:
    register.answer = {"userError": "INVALID"}
    check_vat_ids(at=AUGUST)
    held = issue_billing(as_of=AUGUST, at=BILLED_AT)
    assert [invoice.status for invoice in held.invoices] == ["draft"]
    register.answer = {"userError": "VALID"}
    check_vat_ids(at=AUGUST + timedelta(days=2))
    issued = issue_billing(as_of=AUGUST, at=BILLED_AT)

    assert "it does not know FR40303265045" in held.failures[0].message
    assert [invoice.status for invoice in issued.invoices] == ["issued"]


@pytest.mark.parametrize(
    ("answer", "status"), [({"userError": "MS_UNAVAILABLE"}, 200), ({}, 503), ({"error": "blocked"}, 200)]
)
def test_a_register_that_cannot_say_has_said_nothing(
    acme: Customer, register: type[Register], answer: dict[str, str], status: int
) -> None:
    register.answer, register.status = answer, status

    assert check_vat_ids(at=AUGUST) == []
    assert VatIdCheck.objects.count() == 0
    assert [invoice.status for invoice in issue_billing(as_of=AUGUST, at=BILLED_AT).invoices] == ["issued"]


def test_without_a_register_nobody_is_asked(acme: Customer) -> None:
    assert check_vat_ids(at=AUGUST) == []
