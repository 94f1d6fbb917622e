"""Everything that is asked of Stripe fits the request types of the installed SDK; the comparison itself notices mistakes.

That it is asked of every request of every test is in `tests/conftest.py`.
"""

import json
from urllib.parse import quote

import pytest

from tests.contract.stripe_requests import params_of, request_misfits
from tests.invoicing.payments.building import a_card_customer, an_issued_invoice, run_queued_jobs
from tests.invoicing.payments.conftest import listener, sandbox

__all__ = ["listener", "sandbox"]


@pytest.mark.parametrize(
    ("method", "path", "form", "complaint"),
    [
        ("POST", "/v1/invoices", "customer=cus_1&auto_advance=false&metadata[a]=b&due_date=1790000000", ""),
        ("POST", "/v1/invoices", "custmer=cus_1", "[custmer]: the SDK knows no such parameter"),
        ("POST", "/v1/invoices", "due_date=tomorrow", "[due_date]: not a int: 'tomorrow'"),
        ("POST", "/v1/invoices", "due_date=1.5", "[due_date]: not a int: '1.5'"),
        ("POST", "/v1/invoices", "auto_advance=no", "[auto_advance]: not a bool: 'no'"),
        ("POST", "/v1/invoices", "collection_method=cash", "'cash' is none of"),
        ("POST", "/v1/invoices", "metadata=", ""),
        ("POST", "/v1/invoices", "metadata[a][b]=c", "[metadata]"),
        ("POST", "/v1/invoices", "expand=customer", "[expand]: not a list: 'customer'"),
        ("POST", "/v1/invoices", "expand[]=customer", ""),
        ("POST", "/v1/invoices", "api_key=sk_test", "[api_key]: the SDK knows no such parameter"),
        ("POST", "/v1/invoices/in_1/add_lines", "expand[]=customer", "[lines]: missing"),
        (
            "POST",
            "/v1/invoices/in_1/add_lines",
            "lines[0][amount]=1&lines[0][period][start]=1",
            "[period][end]: missing",
        ),
        (
            "POST",
            "/v1/invoices/in_1/add_lines",
            "lines[0][amont]=1",
            "[lines][0][amont]: the SDK knows no such parameter",
        ),
        ("GET", "/v1/invoices/in_1", "customer=cus_1", "[customer]: the SDK knows no such parameter"),
        ("POST", "/v1/invoices/in_1/finalise", "", "the SDK knows no such request"),
        ("DELETE", "/v1/invoices/in_1/finalize", "", "the SDK knows no such request"),
        ("POST", "/v1/tax/calculations", "currency=eur", "[line_items]: missing"),
        ("GET", "/v2/core/events/evt_1", "", ""),
        ("GET", "/v2/core/events/evt_1", "limit=1", "[limit]: the SDK knows no such parameter"),
    ],
)
def test_the_comparison_notices_names_types_and_what_is_missing(
    method: str, path: str, form: str, complaint: str
) -> None:
    wrong = request_misfits(method=method, path=path, form=quote(form, safe="=&[]"))

    assert len(wrong) == bool(complaint), wrong
    assert complaint in "".join(wrong)


def test_an_address_is_the_most_literal_one() -> None:
    assert params_of("GET", "/v1/invoices/search") == "stripe.params._invoice_search_params.InvoiceSearchParams"
    assert params_of("GET", "/v1/invoices/in_1") == "stripe.params._invoice_retrieve_params.InvoiceRetrieveParams"


def test_every_request_is_written_down_by_dj_stripe_s_calls_too(sandbox, request_log) -> None:
    begin = request_log.stat().st_size
    an_issued_invoice(a_card_customer())

    run_queued_jobs()

    asked = [json.loads(line) for line in request_log.read_text()[begin:].splitlines()]
    ours = {(one["method"], one["path"].split("_")[0]) for one in asked if one["sdk"]}
    assert {("POST", "/v1/customers"), ("POST", "/v1/invoices"), ("POST", "/v1/payment")} <= ours
