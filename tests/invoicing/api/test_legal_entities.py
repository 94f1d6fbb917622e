"""Legal entities over the API: created once, changed with a reason, refused by the field; customers and invoices name theirs."""

import base64
from hashlib import sha256

import pytest

from invoicing.workflows.run_billing import issue_billing
from tests.billing_site.api.caller import Caller, fields_of
from tests.factories import AUGUST, a_customer, a_plan, a_subscription
from tests.invoicing.selling_entities import AMERICAN
from tests.invoicing.test_invoice_document import a_logo

pytestmark = pytest.mark.django_db

ENTITIES = "/api/v1/legal-entities"
WHY = {"reason": "the company in New York begins to sell"}


def test_a_legal_entity_is_created_once_and_changed_with_a_reason() -> None:
    caller = Caller()
    first = caller.get(f"{ENTITIES}/main").json()

    made = caller.post(ENTITIES, AMERICAN | WHY)
    again = caller.post(ENTITIES, AMERICAN | WHY)
    other = caller.post(ENTITIES, AMERICAN | WHY | {"name": "Other Inc."})
    logo = base64.b64encode(a_logo()).decode()
    changed = caller.patch(f"{ENTITIES}/us", {"bank": "Other Bank", "logo": logo, **WHY})

    assert (first["invoice_prefix"], first["credit_note_prefix"], first["logo"]) == ("INV", "CN", "")
    assert (made.status_code, again.status_code, other.status_code) == (201, 201, 409)
    assert made.json() == again.json() == AMERICAN | {"tax_id": "", "logo": ""}
    assert changed.json() == AMERICAN | {"tax_id": "", "bank": "Other Bank", "logo": sha256(a_logo()).hexdigest()}
    assert [row["key"] for row in caller.get(ENTITIES).json()["data"]] == ["us", "main"]
    assert caller.get(f"{ENTITIES}/nobody").status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"invoice_prefix": "INV"}, "invoice_prefix"),
        ({"key": "U S"}, "key"),
        ({"logo": "%"}, "logo"),
        ({"logo": "R0lGODlh"}, "logo"),
        ({"country": "US"}, "country"),
    ],
)
def test_what_cannot_be_accepted_is_named_by_its_field(fields: dict[str, str], field: str) -> None:
    caller = Caller()
    caller.get(f"{ENTITIES}/main")

    refused = caller.post(ENTITIES, AMERICAN | WHY | fields)

    assert refused.status_code == 422
    assert list(fields_of(refused)) == [field]
    assert len(caller.get(ENTITIES).json()["data"]) == 1


def test_customers_say_who_sells_to_them_and_invoices_are_found_by_it() -> None:
    caller = Caller()
    caller.post(ENTITIES, AMERICAN | WHY)
    a_plan()
    a_subscription(a_customer())
    new = {"key": "cust_globex", "name": "Globex Corp.", "email": "", "currency": "USD", "settlement_channel": "manual"}
    unknown = caller.post("/api/v1/customers", new | {"legal_entity": "nobody"})
    made = caller.post("/api/v1/customers", new | {"legal_entity": "us"})
    caller.post(
        "/api/v1/subscriptions", {"customer_id": "cust_globex", "plan": "pro", "started_at": "2026-07-01T00:00:00Z"}
    )
    issue_billing(as_of=AUGUST, at=AUGUST)

    late = caller.patch("/api/v1/customers/cust_globex", {"legal_entity": "main"})
    listed = caller.get("/api/v1/invoices?legal_entity=us").json()["data"]

    assert (unknown.status_code, list(fields_of(unknown))) == (422, ["legal_entity"])
    assert made.json()["legal_entity"] == "us"
    assert caller.get("/api/v1/customers/cust_acme").json()["legal_entity"] == "main"
    assert (late.status_code, list(fields_of(late))) == (422, ["legal_entity"])
    assert [(row["number"], row["legal_entity"]) for row in listed] == [("US-2026-00001", "us")]
