"""What-ifs in the admin: asked with a draft or a file, answered in numbers that open, and taken as CSV."""

import csv
import io
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from invoicing.catalog.models import Plan
from invoicing.customers.models import Customer
from invoicing.what_ifs.models import WhatIf, WhatIfFigure
from invoicing.workflows import what_if
from tests.factories import a_customer, a_plan, a_subscription, usd_fee
from tests.invoicing.what_ifs import a_draft, ask, billed, in_place, three_customers

LIST = "/admin/invoicing/whatif/"
ADD = f"{LIST}add/"

pytestmark = pytest.mark.django_db


def text_of(answer: Any) -> str:
    """The page's text on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def page_of(asked: WhatIf, query: str = "") -> str:
    """The address of an answer."""
    return f"{LIST}{asked.pk}/change/{query}"


def test_a_draft_is_chosen_and_the_answer_says_in_numbers_who_would_have_paid_what(finance: Client) -> None:
    three_customers()
    draft = a_draft(fee="20", per_action="0.02")
    # The periods of the scenario lie before the clock of the page.
    question = {"months": "36", f"plan-{draft.plan_id}": str(draft.pk)}

    answer = finance.post(ADD, question, follow=True)

    text = text_of(answer)
    assert "What if: Pro v2 (draft)" in text
    assert "3 customers would have paid USD 56.00 more (+19.7 %): USD 340.00 instead of USD 284.00" in text
    assert "would pay less 2 would pay more 1 the same 0 cannot be told 0" in text
    assert "Much cust_much USD 158.00 USD 240.00 USD 82.00 +51.9 % 2" in text
    assert "Idle cust_idle USD 58.00 USD 40.00 USD (18.00) −31 % 2" in text
    assert "2026-07 3 USD 197.00 USD 280.00 USD 83.00" in text
    assert WhatIf.objects.get().asked_by == "fiona"


def test_the_page_of_a_draft_leads_to_the_question_with_it_chosen(finance: Client) -> None:
    three_customers()
    draft = a_draft()

    version = finance.get(f"/admin/invoicing/planversion/{draft.pk}/change/").content.decode()
    form = finance.get(f"{ADD}?version={draft.pk}").content.decode()

    assert f"{ADD}?version={draft.pk}" in version
    assert re.search(rf'<option value="{draft.pk}" selected>\s*version 2 \(draft\) for all', form)
    assert finance.get(f"{ADD}?version=nonsense").status_code == 200


def test_a_catalog_file_is_tried_and_nothing_of_it_is_loaded(finance: Client) -> None:
    three_customers()
    file = SimpleUploadedFile(
        "next.yaml",
        b"plans:\n- {key: pro, name: Pro next, product: platform, prices: [{key: base, currency: USD, model: flat, unit_amount: 30.50}]}",
    )

    answer = finance.post(ADD, {"months": "36", "file": file}, follow=True)

    assert "What if: Pro next (from a file)" in text_of(answer)
    assert "USD 183.00 instead of USD 284.00" in text_of(answer)
    assert Plan.objects.get(key="pro").versions.count() == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"plans: [", "is not valid YAML"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"plans: [{key: none, product: platform, prices: []}]", "plans[0].prices: must hold at least one price"),
        (b"plans: []", "plans: must hold at least one plan"),
    ],
)
def test_a_file_that_is_none_is_refused_at_its_field(finance: Client, content: bytes, said: str) -> None:
    three_customers()

    answer = finance.post(ADD, {"months": "3", "file": SimpleUploadedFile("next.yaml", content)})

    assert said in " ".join(answer.context["form"].errors["file"])
    assert not WhatIf.objects.exists()


def test_a_question_without_a_price_list_and_a_draft_that_cannot_be_rated_are_refused(finance: Client) -> None:
    three_customers()
    draft = a_draft()
    draft.prices.all().delete()

    nothing = finance.post(ADD, {"months": "3"})
    unfinished = finance.post(ADD, {"months": "3", f"plan-{draft.plan_id}": str(draft.pk)})
    no_months = finance.post(ADD, {"months": "0", f"plan-{draft.plan_id}": str(draft.pk)})

    assert "choose a price list for at least one plan" in text_of(nothing)
    assert unfinished.context["form"].errors[f"plan-{draft.plan_id}"] == [
        "plans[0].prices: must hold at least one price"
    ]
    assert no_months.context["form"].errors["months"]
    assert not WhatIf.objects.exists()


def test_an_answer_says_that_its_draft_was_edited_since(finance: Client) -> None:
    three_customers()
    draft = a_draft()
    asked = ask(draft)
    before = text_of(finance.get(page_of(asked)))
    draft.prices.filter(key="base").update(unit_amount="21")

    after = text_of(finance.get(page_of(asked)))

    assert "was edited since" not in before
    assert "Pro v2 was edited since: these are the figures of the prices that it had on" in after


def test_the_customers_page_shows_each_line_before_and_after_computed_now(finance: Client) -> None:
    three_customers()
    asked = ask(a_draft(fee="20", per_action="0.02"))
    much = Customer.objects.get(key="cust_much")

    text = text_of(finance.get(f"{LIST}{asked.pk}/customer/{much.pk}/"))

    assert "INV-2026-00003 2026-07 USD 129.00 → USD 220.00 ✓ equal" in text
    assert re.search(r"Actions was: .* would be: .*10,000 actions USD 100.00 USD 200.00", text)
    assert finance.get(f"{LIST}{asked.pk}/customer/0/").status_code == 404


def test_the_customers_of_one_side_are_sorted_and_paged_with_few_queries(
    finance: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("invoicing.admin.what_if_page.PAGE_CUSTOMERS", 2)
    three_customers()
    asked = ask(a_draft())

    with CaptureQueriesContext(
        connection,
    ) as queries:
        first = text_of(finance.get(page_of(asked, "?o=name")))
    second = text_of(finance.get(page_of(asked, "?o=name&page=2")))
    less = text_of(finance.get(page_of(asked, "?side=less")))
    nonsense = finance.get(page_of(asked, "?side=x&o=y&page=-z&currency=XXX"))

    assert "1–2 of 3" in first and "Idle cust_idle" in first and "Some cust_some" not in first
    assert "3–3 of 3" in second and "Some cust_some" in second
    assert "Together USD 26.00 less." in less and "cust_much" not in less
    assert nonsense.status_code == 200
    assert len(queries) < 25, "\n".join(one["sql"] for one in queries)


def test_the_csv_holds_every_customer_with_exact_amounts_and_no_formula(finance: Client) -> None:
    three_customers()
    a_subscription(a_customer("cust_evil", name='=HYPERLINK("x")'))
    billed()
    asked = ask(a_draft(fee="20", per_action="0.02"))

    answer = finance.get(f"{LIST}{asked.pk}/csv/")

    rows = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())))
    assert rows[0][:6] == ["customer", "name", "currency", "invoices", "charged", "would_have_been"]
    assert rows[1] == ["cust_much", "Much", "USD", "2", "158.00", "240.00", "82.00", "51.9", ""]
    assert {row[0] for row in rows[1:]} == {"cust_much", "cust_some", "cust_idle", "cust_evil"}
    assert "'=HYPERLINK" in rows[-1][1] or any("'=HYPERLINK" in row[1] for row in rows)
    assert sum(int(row[3]) for row in rows[1:]) == WhatIfFigure.objects.count()


def test_what_cannot_be_told_is_listed_with_its_reason_and_in_no_total(finance: Client) -> None:
    a_plan("pro", usd_fee("29"), {**usd_fee("25"), "currency": "EUR"})
    a_subscription(a_customer("cust_eur", name="Euro AG", currency="EUR"))
    billed()
    asked = ask(cards=in_place(usd_fee("30")))

    text = text_of(finance.get(page_of(asked)))

    assert "1 customer with EUR 50.00 stand in no figure here" in text
    assert "the price list of pro has no price in EUR" in text


def test_a_long_question_shows_how_far_it_is(finance: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "FIRST_INVOICES", 0)
    three_customers()
    asked = ask(a_draft())

    page = finance.get(page_of(asked))

    assert "0 of 6 invoices computed" in text_of(page)
    assert 'http-equiv="refresh"' in page.content.decode()
    assert finance.get(f"{LIST}{asked.pk}/csv/").status_code == 404
    assert "0 of 6 invoices" in text_of(finance.get(LIST))


def test_months_without_such_invoices_have_nothing_to_compare(finance: Client) -> None:
    a_plan("pro")

    text = text_of(finance.get(page_of(ask(a_draft()))))

    assert "No invoice of these months has a charge of this plan: there is nothing to compare." in text


def test_support_looks_and_does_not_ask(finance: Client, support: Client) -> None:
    three_customers()
    asked = ask(a_draft())

    assert support.get(page_of(asked)).status_code == support.get(LIST).status_code == 200
    assert support.get(ADD).status_code == 403
    assert "Ask again" not in support.get(page_of(asked)).content.decode()
    assert Client().get(f"{LIST}{asked.pk}/csv/").status_code == 302
