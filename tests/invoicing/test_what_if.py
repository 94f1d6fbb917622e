"""What if: closed periods under other prices, exact, with the usage that was known, and nothing of them changes."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django_q.models import OrmQ

from billing_site.kernel.errors import InvalidFields
from invoicing import tasks
from invoicing.catalog.operations import load_catalog, publish_version
from invoicing.catalog.queries import published_version
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind
from invoicing.subscriptions.amend import change_plan, change_quantity
from invoicing.subscriptions.cancel import end_subscription
from invoicing.what_ifs.models import WhatIf, WhatIfFigure
from invoicing.workflows import what_if
from invoicing.workflows.settle_late_usage import settle_late_changes
from invoicing.workflows.what_if import (
    card_of_version,
    cards_in_place,
    cards_of_catalog,
    compare_invoice,
    compare_totals,
    compute_what_if,
    in_place_of,
)
from invoicing.workflows.what_if_figures import GROUP_NAMES, change_of, customer_changes
from tests.factories import (
    AUGUST,
    JULY,
    MILLION_TIERS,
    a_customer,
    a_plan,
    a_subscription,
    nothing_is_checked_before_issue,
    settle_constraints,
    usd_fee,
    usd_per_action,
    use,
)
from tests.invoicing.what_ifs import (
    ASKED_AT,
    a_draft,
    ask,
    before_and_after,
    billed,
    in_place,
    problems,
    three_customers,
)

CALLS_METER = {"key": "calls", "name": "Calls", "event_type": "call.made", "unit": "call"}
USD_PER_CALL = {
    "key": "calls",
    "name": "Calls",
    "meter": "calls",
    "currency": "USD",
    "model": "per_unit",
    "unit_amount": "1",
}

pytestmark = pytest.mark.django_db


def test_with_nothing_changed_every_figure_is_the_invoices_to_the_cent() -> None:
    tiered = usd_per_action(model="graduated", tiers=MILLION_TIERS)
    del tiered["unit_amount"]
    a_plan("pro", usd_fee("29.99"), tiered)
    for number, zone in enumerate(("UTC", "Asia/Kathmandu", "America/New_York")):
        customer = a_customer(f"cust_{number}", timezone=zone)
        anchor = ("calendar", "anniversary")[number % 2]
        a_subscription(customer, started_at=JULY + timedelta(days=number * 3, hours=5), anchor=anchor)
        use(customer.key, f"{number + 1}234567.89", at=JULY + timedelta(days=20))
        use(customer.key, "17", at=AUGUST + timedelta(days=20))
    invoices = billed()

    answer = ask(published_version(plan_key="pro"))

    assert answer.finished_at is not None and answer.done_count == answer.invoice_count == len(invoices) == 5
    assert {row.invoice_id: row.after for row in answer.rows.all()} == {one.pk: one.total for one in invoices}
    [figures] = answer.figures["currencies"]
    assert (figures["effect"]["amount"], figures["same"]["customers"]) == ("0.00", 3)


def test_a_draft_says_who_would_have_paid_less_and_who_more() -> None:
    three_customers()

    answer = ask(a_draft(fee="20", per_action="0.02"))

    assert before_and_after(answer) == {
        "cust_idle": ("58.00", "40.00"),
        "cust_some": ("68.00", "60.00"),
        "cust_much": ("158.00", "240.00"),
    }
    [figures] = answer.figures["currencies"]
    assert {
        name: (figures[name]["customers"], figures[name]["effect"]["amount"]) for name in ("less", "more", "same")
    } == {
        "less": (2, "-26.00"),
        "more": (1, "82.00"),
        "same": (0, "0.00"),
    }
    assert [figures[name]["amount"] for name in ("before", "after", "effect")] == ["284.00", "340.00", "56.00"]
    assert [(one["month"], one["before"]["amount"], one["after"]["amount"]) for one in figures["months"]] == [
        ("2026-07", "197.00", "280.00"),
        ("2026-08", "87.00", "60.00"),
    ]
    assert {one["name"]: one["customers"] for one in figures["groups"] if one["customers"]} == {
        "less by 20 to 50 %": 1,
        "less by 10 to 20 %": 1,
        "more by 50 % or more": 1,
    }
    assert tuple(one["name"] for one in figures["groups"]) == GROUP_NAMES


def test_a_what_if_changes_nothing_of_what_was_issued() -> None:
    three_customers()
    before = list(Invoice.objects.order_by("id").values()), list(InvoiceLine.objects.order_by("id").values())

    ask(a_draft())

    assert (list(Invoice.objects.order_by("id").values()), list(InvoiceLine.objects.order_by("id").values())) == before


def test_usage_counts_as_it_was_known_when_the_invoice_was_issued() -> None:
    # Calls are counted and not charged for: the gate would hold the invoice.
    nothing_is_checked_before_issue()
    a_plan("pro")
    load_catalog(document={"meters": [CALLS_METER]}, at=JULY, actor="test", reason="set up")
    a_subscription(a_customer("cust_acme"))
    use("cust_acme", "100", at=JULY + timedelta(days=3))
    use("cust_acme", "7", at=JULY + timedelta(days=3), event_type="call.made")
    billed(as_of=AUGUST)
    use("cust_acme", "5000", at=JULY + timedelta(days=4))
    use("cust_acme", "900", at=JULY + timedelta(days=4), event_type="call.made")

    answer = ask(cards=in_place(usd_per_action("0.02"), USD_PER_CALL))

    # 100 actions of the invoice's own line, and the 7 calls that no line counted but that were there.
    assert before_and_after(answer) == {"cust_acme": ("30.00", "9.00")}


def test_corrections_that_an_invoice_carries_are_no_part_of_the_comparison() -> None:
    a_plan("pro")
    a_subscription(a_customer("cust_acme"))
    use("cust_acme", "100", at=JULY + timedelta(days=3))
    billed(as_of=AUGUST)
    use("cust_acme", "1000", at=JULY + timedelta(days=4))
    settle_late_changes(at=AUGUST + timedelta(days=5))
    billed()
    assert InvoiceLine.objects.filter(kind=LineKind.CORRECTION).exists()

    answer = ask(a_draft(fee="30", per_action="0.01"))

    assert before_and_after(answer) == {"cust_acme": ("59.00", "61.00")}


def test_a_customer_who_came_and_left_within_the_month_pays_the_same_share_of_the_other_fee() -> None:
    a_plan("pro", usd_fee("31"))
    subscription = a_subscription(a_customer("cust_acme"), started_at=JULY + timedelta(days=10))
    end_subscription(subscription=subscription, ended_at=JULY + timedelta(days=20), actor="test", reason="left")
    billed(as_of=AUGUST)

    answer = ask(cards=in_place(usd_fee("62")))

    assert before_and_after(answer) == {"cust_acme": ("10.00", "20.00")}


def test_a_change_of_version_in_mid_period_is_none_where_one_price_list_stands_for_both() -> None:
    a_plan("pro", usd_fee("31"), usd_per_action("0.01"))
    subscription = a_subscription(a_customer("cust_acme"))
    a_plan("pro", usd_fee("62"), usd_per_action("0.02"))
    change_plan(
        subscription=subscription,
        plan_version=published_version(plan_key="pro"),
        at=JULY + timedelta(days=10),
        actor="test",
        reason="agreed",
    )
    for day in (3, 20):
        use("cust_acme", "100", at=JULY + timedelta(days=day))
    billed(as_of=AUGUST)

    answer = ask(cards=in_place(usd_fee("40"), usd_per_action("0.01", free_units="150")))

    # 10 days of 31 and 21 days of 62, USD 1 and USD 2 of usage; then one fee, and free units once.
    assert before_and_after(answer) == {"cust_acme": ("55.00", "40.50")}


def test_a_price_list_prorates_as_it_says_itself() -> None:
    a_plan("pro", usd_fee("31"))
    a_subscription(a_customer("cust_acme"), started_at=JULY + timedelta(days=10))
    billed(as_of=AUGUST)

    answer = ask(cards=in_place(usd_fee("31"), proration="none"))

    assert before_and_after(answer) == {"cust_acme": ("21.00", "31.00")}


def test_only_plans_that_were_chosen_are_looked_at_whatever_version_their_customers_have() -> None:
    a_plan("pro")
    a_plan("basic", usd_fee("5"))
    a_subscription(a_customer("cust_old"))
    a_subscription(a_customer("cust_basic"), plan="basic")
    a_plan("pro", usd_fee("40"))
    a_subscription(a_customer("cust_new"))
    billed(as_of=AUGUST)

    answer = ask(cards=in_place(usd_fee("50")))

    assert before_and_after(answer) == {"cust_old": ("29.00", "50.00"), "cust_new": ("40.00", "50.00")}
    assert what_if.invoices_in_months(asked=answer).count() == 3


def test_only_periods_of_the_last_full_months_are_looked_at_by_the_customers_calendar() -> None:
    a_plan("pro", usd_fee("10"))
    a_subscription(a_customer("cust_east", timezone="Pacific/Auckland"), started_at=JULY - timedelta(days=45))
    a_subscription(a_customer("cust_west", timezone="Pacific/Honolulu"), started_at=JULY - timedelta(days=45))
    billed()

    one, two = ask(published_version(plan_key="pro"), months=1), ask(published_version(plan_key="pro"), months=2)

    assert [f"{row.month:%Y-%m}" for row in one.rows.order_by("id")] == ["2026-08", "2026-08"]
    assert sorted({f"{row.month:%Y-%m}" for row in two.rows.all()}) == ["2026-07", "2026-08"]


def test_a_price_list_without_the_customers_currency_is_a_listed_problem_and_no_figure() -> None:
    a_plan("pro", usd_fee("29"), {**usd_fee("25"), "currency": "EUR"})
    a_subscription(a_customer("cust_usd"))
    a_subscription(a_customer("cust_eur", currency="EUR"))
    billed(as_of=AUGUST)

    answer = ask(cards=in_place(usd_fee("30")))

    assert problems(answer) == ["the price list of pro has no price in EUR"]
    eur, usd = answer.figures["currencies"]
    assert (eur["customers"], eur["left_out"]) == (
        0,
        {"customers": 1, "invoices": 1, "before": {"amount": "25.00", "currency": "EUR"}},
    )
    assert (usd["customers"], usd["effect"]["amount"]) == (1, "1.00")


def test_an_invoice_that_does_not_come_out_as_it_was_issued_is_a_problem_not_a_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invoice = three_customers()[1]
    in_its_place = cards_in_place(asked=ask(a_draft()))
    line = invoice.lines.get(meter_key="actions")
    line.rated["inputs"]["usage"]["quantity"] = "1001"
    invoice._prefetched_objects_cache = {"lines": [invoice.lines.get(meter_key=""), line]}  # type: ignore[attr-defined]

    compared = compare_invoice(invoice=invoice, in_place=in_its_place)

    assert compared.now is None
    assert compared.problem == "sub_cust_some/actions was invoiced with USD 10.00, computed again it is USD 10.01"


def test_totals_of_many_invoices_are_those_of_each_line_by_line() -> None:
    a_plan("team", usd_fee("10"), usd_per_action("0.005"))
    three_customers()
    moved = a_subscription(a_customer("cust_moved"), plan="team", started_at=JULY + timedelta(days=4))
    change_quantity(subscription=moved, quantity=3, at=AUGUST + timedelta(days=7), actor="test", reason="grew")
    billed()
    a_plan("team", usd_fee("12"), usd_per_action("0.004", free_units="10", minimum_amount="3"))
    cards = in_place_of(
        cards=[card_of_version(version=a_draft()), card_of_version(version=published_version(plan_key="team"))]
    )
    invoices = list(Invoice.objects.select_related("customer").order_by("pk"))

    totals = list(compare_totals(invoices=invoices, in_place=cards))

    assert len(totals) == 8
    for invoice, total in zip(invoices, totals, strict=True):
        compared = compare_invoice(invoice=invoice, in_place=cards)
        assert compared.now is not None
        assert (total.before, total.after, total.problem) == (compared.before, compared.now.total, "")


def test_the_answer_stands_when_the_draft_is_edited_later_and_the_same_question_has_the_same_digest() -> None:
    three_customers()
    draft = a_draft()
    first, again = ask(draft), ask(draft)
    publish_version(version_id=draft.pk, at=ASKED_AT, actor="test", reason="go")

    assert first.figures_digest == again.figures_digest != ""
    assert compute_what_if(what_if_id=first.pk, at=ASKED_AT, invoices_max=100).figures == first.figures
    assert ask(draft, months=1).figures_digest != first.figures_digest


def test_many_invoices_are_computed_by_jobs_that_go_on_where_the_last_one_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invoices = three_customers()
    monkeypatch.setattr(what_if, "FIRST_INVOICES", 0)
    monkeypatch.setattr(what_if, "JOB_INVOICES", 2)
    monkeypatch.setattr(what_if, "BATCH_INVOICES", 2)
    OrmQ.objects.all().delete()

    answer = ask(a_draft())
    assert (answer.done_count, answer.invoice_count, answer.finished_at) == (0, len(invoices), None)
    said = [tasks.compute_what_if(answer.pk) for _ in range(5)]

    assert said == [
        "2 of 6 invoices",
        "4 of 6 invoices",
        "6 of 6 invoices",
        "6 of 6 invoices",
        "6 of 6 invoices",
    ]
    answer.refresh_from_db()
    assert answer.finished_at is not None and answer.rows.count() == 6
    assert WhatIfFigure.objects.values("invoice").distinct().count() == 6


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoicing_whatif SET figures = '{}'",
        "UPDATE invoicing_whatif SET title = 'mine'",
        "DELETE FROM invoicing_whatif",
        "TRUNCATE invoicing_whatif CASCADE",
        "UPDATE invoicing_whatiffigure SET after = before",
        "DELETE FROM invoicing_whatiffigure",
        "INSERT INTO invoicing_whatiffigure (what_if_id, customer_id, invoice_id, month, currency, before, after, problem)"
        " SELECT what_if_id, customer_id, (SELECT max(id) FROM invoicing_invoice), month, currency, 0, 0, ''"
        " FROM invoicing_whatiffigure LIMIT 1",
        "TRUNCATE invoicing_whatiffigure",
    ],
)
def test_raw_sql_cannot_change_an_answer(statement: str) -> None:
    three_customers()
    ask(a_draft())
    settle_constraints()

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_an_answer_is_not_finished_before_its_last_invoice() -> None:
    three_customers()
    answer = ask(a_draft())

    with pytest.raises(IntegrityError, match="what_if_is_finished_whole_and_with_its_digest"):
        WhatIf.objects.create(
            title="x",
            cards=answer.cards,
            month_count=1,
            first_date=answer.first_date,
            last_date=answer.last_date,
            asked_by="x",
            asked_at=ASKED_AT,
            invoice_count=2,
            done_count=1,
            finished_at=ASKED_AT,
            figures_digest="0" * 64,
        )


def test_customers_are_listed_by_side_and_order() -> None:
    three_customers()
    answer = ask(a_draft())

    def keys(**options: str) -> list[str]:
        rows = customer_changes(asked=answer, currency="USD", **options)  # type: ignore[arg-type]
        return [change_of(row, currency="USD").name for row in rows]

    assert keys() == ["Much", "Some", "Idle"]
    assert keys(side="less") == ["Some", "Idle"]
    assert keys(side="more") == ["Much"]
    assert keys(side="same") == keys(side="problem") == []
    assert keys(order="name", descending="") == ["Idle", "Much", "Some"]


@pytest.mark.parametrize(
    ("options", "field", "message"),
    [
        ({"cards": [], "months": 2}, "plans", "choose a price list for at least one plan"),
        ({"months": 0}, "months", "must be 1 to 36 months"),
        ({"months": 37}, "months", "must be 1 to 36 months"),
    ],
)
def test_a_bad_question_is_refused_by_the_name_of_its_field(options: dict[str, int], field: str, message: str) -> None:
    a_plan("pro")

    with pytest.raises(InvalidFields) as refused:
        ask(**{"cards": [card_of_version(version=published_version(plan_key="pro"))], **options})  # type: ignore[arg-type]

    assert [(one.field, one.message) for one in refused.value.errors] == [(field, message)]
    assert not WhatIf.objects.exists()


def test_a_plan_has_one_price_list_and_the_periods_that_were_billed() -> None:
    a_plan("pro")
    [card] = in_place(usd_fee("1"))
    [yearly] = in_place(usd_fee("1"), cadence="year")

    with pytest.raises(InvalidFields, match="pro has two price lists here: choose one"):
        ask(cards=[card, card])
    with pytest.raises(InvalidFields, match="pro was never billed by year"):
        ask(cards=[yearly])


def test_a_file_is_refused_with_the_place_of_each_mistake() -> None:
    a_plan("pro")

    def refused(document: object) -> list[tuple[str, str]]:
        with pytest.raises(InvalidFields) as caught:
            cards_of_catalog(document=document)
        return [(one.field, one.code) for one in caught.value.errors]

    plan = {"key": "pro", "product": "platform", "prices": [usd_fee("1")]}
    assert refused({}) == [("plans", "required")]
    assert refused({"plans": [plan, {**plan, "key": "unheard"}]}) == [("plans[1].key", "unknown")]
    assert refused({"plans": [{**plan, "prices": [{**usd_per_action(), "meter": "sparks"}]}]}) == [
        ("plans[0].prices[0].meter", "unknown")
    ]
    assert refused({"plans": [{**plan, "prices": [usd_fee("-1")]}]})[0][0] == "plans[0].prices[0].unit_amount"
