"""What the figures of dunning count, and that each is what the list behind it says, the ledger included."""

from datetime import UTC, date, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from moneyed import Money

from billing_site.kernel.money import total
from dunning.arrangements.operations import NewInstalment, hold_dunning, promise_to_pay
from dunning.cases.models import DunningCase
from dunning.figures.answering import ALL
from dunning.figures.queries import NAMES, counted, figure
from dunning.figures.source import Asked, Figure, Value
from dunning.notices.models import Notice
from dunning.notices.sending import send_notice
from invoicing.reports.asking import read_question
from invoicing.reports.catalogue import report_kind
from tests.dunning.chasing import WHO, case_of, chase, late_customer, pay, turn

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked() -> Asked:
    """Four who are late since the 15th of August, asked on the 1st of September.

    One paid after the first reminder, one in parts after the second, one is held, one promised and paid.
    """
    prompt = late_customer("cust_prompt", name="Prompt Ltd")
    slow = late_customer("cust_slow", name="Slow Ltd")
    held = late_customer("cust_held", name="Held Ltd")
    promised = late_customer("cust_promised", name="Promised Ltd")
    sweep("2026-08-16 09:00")
    hold_dunning(customer=held.customer, kind="vip", until=None, at=at("2026-08-17 10:00"), **WHO)
    promise_to_pay(
        case_id=case_of(promised.customer).pk,
        instalments=[NewInstalment(date(2026, 8, 20), Money("31", "USD"))],
        at=at("2026-08-17 10:00"),
        **WHO,
    )
    pay(prompt, at("2026-08-17 12:00"))
    sweep("2026-08-18 09:00")
    pay(slow, at("2026-08-19 12:00"), "11")
    pay(promised, at("2026-08-19 12:00"))
    for day in (19, 22, 26, 29):
        sweep(f"2026-08-{day} 21:00" if day == 19 else f"2026-08-{day} 09:00")
    return Asked(date(2026, 8, 1), date(2026, 9, 1), at("2026-09-01 12:00"))


def at(text: str) -> datetime:
    """A moment in UTC, where all of them are."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def sweep(text: str) -> None:
    """A sweep of dunning and of the life cycle at a moment."""
    turn(at(text), at(text))


def values(of: Figure, *, currency: str = "USD") -> dict[str, list[str]]:
    """The values of a figure, row by row."""
    [panel] = [panel for panel in of.panels if panel.currency == currency]
    return {
        bar.title: [_text(bar.values[one.key]) for one in of.measures] for bar in panel.bars if any(bar.values.values())
    }


def _text(value: Value) -> str:
    return str(value.amount) if isinstance(value, Money) else str(value)


def test_money_counts_for_the_step_after_which_it_came(asked) -> None:
    found = values(figure(name="recovery", asked=asked))

    assert found["Day 0: write to the customer (reminder)"] == ["4", "2", "50.0", "124.00", "62.00", "50.0"]
    assert found["Day 3: write to the customer (reminder)"] == ["1", "0", "0.0", "31.00", "11.00", "35.5"]
    assert found["Day 7: write to the customer (reminder)"][3:] == ["20.00", "0.00", "0.0"]
    assert found["Day 14: suspend service (suspended)"][:2] == ["1", "0"]


def test_ageing_ties_to_the_report_and_to_the_ledger_and_days_outstanding_to_what_was_billed(asked) -> None:
    [panel] = figure(name="ageing", asked=asked).panels

    assert panel.tie is not None and panel.tie.holds and panel.tie.reported == Money("51", "USD")
    report = report_kind(name="aged-receivables").answer(
        question=read_question(asked={"as_of": "2026-09-01"}, today=date(2026, 9, 1))
    )
    [section] = report.sections
    assert [bar.values["open"] for bar in panel.bars] == [
        section.totals[key] for key in ("current", "days_1_30", "days_31_60", "days_61_90", "over_90")
    ]


def test_each_number_is_what_its_list_says_and_a_currency_or_entity_is_told_alone(asked) -> None:
    for notice in Notice.objects.order_by("pk")[:2]:
        send_notice(notice_id=notice.pk, at=notice.planned_at)

    for name in NAMES:
        of = figure(name=name, asked=asked)
        assert of.panels, name
        if name != "outstanding":
            assert_lists_say_the_same(of, asked)
    elsewhere = [
        Asked(asked.start, asked.end, asked.at, **narrowed) for narrowed in ({"currency": "EUR"}, {"entity": "other"})
    ]
    assert all(figure(name=name, asked=alone).panels == [] for name in NAMES for alone in elsewhere)
    here = Asked(asked.start, asked.end, asked.at, entity="main", currency="USD")
    assert all(figure(name=name, asked=here).panels for name in NAMES)
    [ageing] = figure(name="ageing", asked=here).panels
    assert ageing.tie is not None and ageing.tie.holds, "the books of one company, too"


def assert_lists_say_the_same(of: Figure, asked: Asked) -> None:
    for panel in of.panels:
        for key, numbers in [*((bar.key, bar.values) for bar in panel.bars), (ALL, panel.totals)]:
            for measure in of.measures:
                value = numbers[measure.key]
                if measure.of is not None:
                    continue
                count, items = counted(name=of.name, asked=asked, bar=key, measure=measure.key, currency=panel.currency)
                if isinstance(value, Money):
                    column = "paid" if measure.key == "paid" else "amount"
                    assert total((getattr(item, column) for item in items), panel.currency) == value
                elif measure.key == "customers":
                    assert len({item.customer_id for item in items}) == value
                else:
                    assert count == len(items) == value
    found = values(figure(name="outstanding", asked=asked))

    # Four invoices of USD 31, the first on the 1st of August, 73 of 124 paid by its end: what was before is no day of theirs.
    assert found["2026-08"] == ["51.00", "124.00", "31", "12.8"]
    assert found["2026-09"] == ["51.00", "124.00", "32", "13.2"]
    billed = Asked(date(2026, 6, 1), date(2026, 8, 31), asked.at)
    count, items = counted(name="billed", asked=billed, bar=ALL, measure="billed", currency="USD")
    assert count == 4 and total((item.amount for item in items if item.amount), "USD") == Money("124", "USD")


def test_money_at_risk_is_told_by_the_state_of_customers_with_their_recurring_revenue(asked) -> None:
    found = values(figure(name="risk", asked=asked))

    assert found["past due"] == ["1", "31.00", "31.00", "31.00"]
    assert found["suspended"] == ["1", "20.00", "20.00", "31.00"]
    report = report_kind(name="mrr-by-customer").answer(
        question=read_question(asked={"start": "2026-08-01", "end": "2026-08-31"}, today=date(2026, 9, 1))
    )
    chased = {case.customer.key for case in DunningCase.objects.filter(state="open").select_related("customer")}
    rows = [row for section in report.sections for row in section.rows if row.cells["customer_id"] in chased]
    assert total((row.cells["closing"] for row in rows), "USD") == Money("62", "USD")
    assert values(figure(name="cases", asked=asked), currency="") == {
        "15 to 30 days": ["2", "1", "0", "1", "0", "0", "0"]
    }


def test_a_list_is_paged_and_its_pages_are_the_whole(asked, monkeypatch) -> None:
    monkeypatch.setattr("dunning.figures.queries.ITEMS_PER_PAGE", 1)

    for name, measure in (("risk", "recurring"), ("risk", "open"), ("recovery", "taken")):

        def page(number: int | None, name: str = name, measure: str = measure):
            return counted(name=name, asked=asked, bar=ALL, measure=measure, currency="USD", page=number)

        count, whole = page(None)
        assert [item for number in range(1, count + 1) for item in page(number)[1]] == whole
        assert (count >= 2, page(count + 1)) == (True, (count, []))


def test_mails_and_promises_are_told_by_week(asked) -> None:
    notices = list(Notice.objects.order_by("planned_at", "pk"))
    for notice in notices[:2]:
        send_notice(notice_id=notice.pk, at=notice.planned_at)
    mails = figure(name="mails", asked=asked)

    sent = {bar.title: bar.values["sent"] for bar in mails.panels[0].bars if bar.values["sent"]}
    assert sum(sent.values()) == Notice.objects.filter(state="sent").count()
    assert [bar.key for bar in mails.panels[0].bars][:2] == ["2026-07-27", "2026-08-03"], (
        "weeks without any stand there, too"
    )
    promises = values(figure(name="promises", asked=asked))
    assert promises == {"2026-08-17": ["1", "0", "0", "1", "100.0", "31.00", "0.00"]}


def test_the_number_of_queries_does_not_grow_with_the_cases(asked) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            for name in NAMES:
                figure(name=name, asked=asked)
        return len(seen)

    before = queries()
    for number in range(3):
        late_customer(f"cust_more_{number}")
    chase(at("2026-08-31 12:00"))

    assert queries() == before <= 30
