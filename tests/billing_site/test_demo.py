"""The demo company: the same for ever, through the public ways, and complete however often it is started."""

import json
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_q.models import OrmQ
from moneyed import Money
from rich.console import Console

from billing_site.demo.chasing import chase_late_payers
from billing_site.demo.company import CUSTOMERS
from billing_site.demo.founding import found_company, let_cards_go_bad, sign_up
from billing_site.demo.keepsake import FINANCE_LOGIN, ensure_staff_logins
from billing_site.demo.months import legs_until, openings_at
from billing_site.demo.settling import NEVER_PAID, record_transfers
from billing_site.demo.tidying import CREDITED, tidy_up
from billing_site.demo.usage import usage_of
from billing_site.sandbox.stripe.cards import BY_TOKEN
from dunning.arrangements.models import Hold, Promise
from dunning.cases.models import DunningCase
from dunning.notices.models import Notice
from dunning.notices.templates import TemplateVersion
from invoicing.catalog.models import Price
from invoicing.closing.models import MonthClose
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.contract import PriceModel
from invoicing.credit_notes.models import CreditNote
from invoicing.credits.models import CreditGrant
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, Objection
from invoicing.subscriptions.commitment import Commitment, CommitmentPayment
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import PriceOverride, Subscription
from invoicing.workflows.run_billing import issue_billing
from invoicing.workflows.settle_payment import settle_payment
from invoicing.write_offs.models import WriteOff
from metering.core.batch import read_ndjson_batch
from tests.factories import a_customer

ROOT = Path(__file__).resolve().parents[2]
CREATED_AT = datetime(2026, 3, 17, 11, 20, tzinfo=UTC)


def test_three_months_are_billed_and_one_is_running() -> None:
    legs = legs_until(created_at=CREATED_AT)

    assert [leg.is_billed for leg in legs] == [True, True, True, False]
    assert legs[0].start == datetime(2025, 12, 1, tzinfo=UTC)
    assert [leg.end for leg in legs[:3]] == [datetime(2026, month, 2, 6, tzinfo=UTC) for month in (1, 2, 3)]
    assert legs[3].end == CREATED_AT


@pytest.mark.parametrize(
    ("created_at", "last_billed"),
    [
        (datetime(2026, 3, 2, 5, 59, 59, tzinfo=UTC), datetime(2026, 2, 2, 6, tzinfo=UTC)),
        (datetime(2026, 3, 2, 6, 0, 1, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC)),
        (datetime(2028, 3, 1, 0, 0, tzinfo=UTC), datetime(2028, 2, 2, 6, tzinfo=UTC)),
    ],
)
def test_no_invoice_is_dated_after_the_demo_was_made(created_at: datetime, last_billed: datetime) -> None:
    billed = [leg for leg in legs_until(created_at=created_at) if leg.is_billed]

    assert len(billed) == 3
    assert billed[-1].end == last_billed <= created_at


def test_every_month_has_ended_everywhere_when_it_is_billed() -> None:
    first_day = legs_until(created_at=CREATED_AT)[0].start
    starts = [customer.started_at(first_day=first_day) for customer in CUSTOMERS if not customer.starts_on_day]

    legs = legs_until(created_at=CREATED_AT)
    assert max(starts) < first_day + timedelta(days=1, hours=6) == openings_at(legs=legs)


def test_the_same_moment_gives_the_same_events_and_a_later_one_only_more() -> None:
    legs = legs_until(created_at=CREATED_AT)
    later = legs_until(created_at=CREATED_AT + timedelta(hours=2))

    once = usage_of(leg=legs[0], first_day=legs[0].start, created_at=CREATED_AT)
    again = usage_of(leg=legs[0], first_day=legs[0].start, created_at=CREATED_AT)

    assert once == again
    assert [leg.start for leg in legs] == [leg.start for leg in later]


def test_the_events_are_many_rhythmic_sometimes_late_and_one_percent_twice() -> None:
    legs = legs_until(created_at=CREATED_AT)
    lines = [line for leg in legs for line in usage_of(leg=leg, first_day=legs[0].start, created_at=CREATED_AT)]
    events = [json.loads(line) for line in lines]
    times = [datetime.fromisoformat(event["timestamp"]) for event in events]
    by_weekday = Counter(time.weekday() for time in times)
    late = sum(earlier - time > timedelta(hours=1) for earlier, time in pairwise(times))

    assert 250_000 < len(lines) < 370_000
    assert 0.008 < 1 - len(set(lines)) / len(lines) < 0.012
    assert by_weekday[6] < by_weekday[2] * 0.6
    assert 500 < late < len(lines) * 0.02
    assert max(times) < CREATED_AT
    assert {"cust_unknown_trial"} == {event["customer_id"] for event in events} - {c.key for c in CUSTOMERS}


def test_every_event_is_accepted_by_the_product() -> None:
    leg = legs_until(created_at=CREATED_AT)[-1]
    lines = usage_of(leg=leg, first_day=legs_until(created_at=CREATED_AT)[0].start, created_at=CREATED_AT)[:10_000]

    batch = read_ndjson_batch(body=b"\n".join(lines), events_max=10_000, received_at=CREATED_AT)

    assert len(batch.events) == len(lines)
    assert batch.rejections == ()


def test_the_customers_are_as_various_as_they_should_be() -> None:
    assert 38 <= len(CUSTOMERS) <= 44
    assert len({customer.key for customer in CUSTOMERS}) == len(CUSTOMERS)
    assert {customer.currency for customer in CUSTOMERS} == {"EUR", "USD", "JPY"}
    assert {customer.anchor for customer in CUSTOMERS} == {"calendar", "anniversary"}
    assert {customer.seller for customer in CUSTOMERS} == {"main", "us"}
    assert len({customer.timezone for customer in CUSTOMERS}) > 12
    assert max(len(customer.name) for customer in CUSTOMERS) > 150
    assert sum(customer.channel == "manual" for customer in CUSTOMERS) == 12
    bad = [BY_TOKEN[customer.bad_card] for customer in CUSTOMERS if customer.bad_card]
    assert len(bad) == 3 and all(card.code for card in bad)


@pytest.mark.django_db
def test_founding_the_company_twice_changes_nothing() -> None:
    first_day = legs_until(created_at=CREATED_AT)[0].start

    for _time in range(2):
        found_company(first_day=first_day)
        for number in range(len(CUSTOMERS)):
            sign_up(number=number, first_day=first_day)
        let_cards_go_bad()

    subscriptions = Subscription.objects.filter(parent=None)
    assert Customer.objects.count() == subscriptions.count() == len(CUSTOMERS)
    assert Customer.history.filter(key="cust_mistral_logistik").count() == 2
    agreed = (
        Subscription.objects.exclude(parent=None),
        Commitment.objects.all(),
        CreditGrant.objects.all(),
        Discount.objects.all(),
        PriceOverride.objects.all(),
    )
    assert [kind.count() for kind in agreed] == [4, 2, 3, 2, 1]


@pytest.mark.django_db
def test_the_company_sells_and_agrees_whatever_can_be_sold_and_agreed() -> None:
    first_day = legs_until(created_at=CREATED_AT)[0].start

    found_company(first_day=first_day)
    for number in range(len(CUSTOMERS)):
        sign_up(number=number, first_day=first_day)

    assert {model.value for model in PriceModel} == set(Price.objects.values_list("model", flat=True))
    assert Price.objects.filter(in_advance=True).exists()
    assert Price.objects.exclude(fixed_amount_per_event=None).exists()
    assert set(CommitmentPayment.values) == set(Commitment.objects.values_list("payment", flat=True))
    assert {kind.value for kind in CreditKind} == set(CreditGrant.objects.values_list("kind", flat=True))


@pytest.mark.django_db
def test_what_finance_tidies_up_is_done_once_however_often_the_demo_starts() -> None:
    legs = legs_until(created_at=CREATED_AT)
    found_company(first_day=legs[0].start)
    for number, customer in enumerate(CUSTOMERS):
        if customer.key in (CREDITED, NEVER_PAID, "cust_nimbus_iberica"):
            sign_up(number=number, first_day=legs[0].start)
    for at in (openings_at(legs=legs), legs[0].end):
        issue_billing(as_of=at, at=at)
        record_transfers(last_leg_end=legs[2].end)
    [invoice] = Invoice.objects.filter(customer__key=CREDITED)
    settle_payment(
        invoice_id=invoice.pk, channel="stripe", reference="ch_1", amount=invoice.total, received_at=legs[0].end
    )
    ensure_staff_logins()

    for _time in range(2):
        tidy_up(first_day=legs[0].start, at=CREATED_AT)

    note, given_up = CreditNote.objects.get(), WriteOff.objects.get()
    assert (note.total, note.balance_amount) == (Money("11.50", "EUR"), Money("11.50", "EUR"))
    assert (given_up.invoice.customer.key, given_up.amount) == (NEVER_PAID, Money("21.42", "EUR"))
    closed = MonthClose.objects.order_by("id")
    # Who is paid for on the first day in Madrid stands on the last day of November.
    assert [(str(one), one.actor) for one in closed] == [("2025-11", FINANCE_LOGIN), ("2025-12", FINANCE_LOGIN)]


@pytest.mark.django_db
def test_who_paid_late_was_reminded_suspended_and_served_again_once_however_often_the_demo_starts(
    monkeypatch: Any, settings: Any, tmp_path: Path
) -> None:
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")
    monkeypatch.setattr("billing_site.demo.chasing.now", lambda: CREATED_AT)
    legs = legs_until(created_at=CREATED_AT)
    found_company(first_day=legs[0].start)
    told = {"cust_quill", "cust_owl", "cust_cobalt_legal", "cust_agora", "cust_lippe", "cust_gridline"}
    for number, customer in enumerate(CUSTOMERS):
        if customer.key in told | {NEVER_PAID}:
            sign_up(number=number, first_day=legs[0].start)
    for at in (openings_at(legs=legs), legs[0].end, legs[1].end):
        issue_billing(as_of=at, at=at)
        record_transfers(last_leg_end=legs[2].end, legs=legs)

    for _time in range(2):
        chase_late_payers(console=Console(quiet=True))

    cases = {case.customer.key: case for case in DunningCase.objects.select_related("customer")}
    assert set(cases) >= told
    assert [cases[f"cust_{name}"].state for name in ("quill", "owl", "cobalt_legal")] == [
        "settled",
        "settled",
        "exhausted",
    ]
    assert [step.act for step in cases["cust_owl"].steps.order_by("number")][-1] == "suspend"
    assert Hold.objects.get().customer.key == "cust_gridline" and Promise.objects.filter(ended_at=None).exists()
    assert Objection.objects.get().invoice.customer.key == "cust_agora"
    assert Notice.objects.filter(state="sent", kind="restored").exists() and not OrmQ.objects.exists()
    assert TemplateVersion.objects.get(is_built_in=False).state == "asked"


@pytest.mark.django_db
def test_the_demo_does_not_mix_with_other_customers() -> None:
    a_customer()

    with pytest.raises(CommandError, match="does not mix"):
        call_command("demo", "--no-serve")


def test_the_demo_refuses_a_real_stripe_key(settings: Any) -> None:
    settings.STRIPE_IS_SANDBOX = False

    with pytest.raises(CommandError, match="Unset it"):
        call_command("demo", "--no-serve")


@pytest.mark.slow
@pytest.mark.requirement("S1-029")
@pytest.mark.requirement("S1-030")
@pytest.mark.requirement("S1-031")
def test_the_whole_demo_is_loaded_billed_paid_and_verified_and_a_second_start_changes_nothing(tmp_path: Path) -> None:
    unset = ("DATABASE_URL", "STRIPE_SECRET_KEY", "PUBLIC_URL", "SANDBOX_BIND", "SANDBOX_WEBHOOK_URL")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"BILLING_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "100"}

    def manage(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(ROOT / "manage.py"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = manage("demo", "--no-serve")
    second = manage("demo", "--no-serve")

    shown = first[first.index("Invoices    ") :] if "Invoices    " in first else first
    unpaid = [line for line in shown.splitlines() if "INV-" in line]
    # Three refused cards, two of Kino Lab, and six of the seven who are late with a transfer.
    assert len(unpaid) == 11
    # One progressive invoice in the last month that is billed, and one in the running month where that is long enough.
    progressive = invoices_shown(shown)[0] - 122
    assert progressive in (1, 2)
    assert invoices_shown(shown) == (122 + progressive, 110 + progressive, 11, 1)
    assert sum("Kino Lab" in line for line in unpaid) == 2
    assert "given up" in shown
    assert (
        "key bbk_" in shown
        and "password demo" in shown
        and "Finance, who closed" in shown
        and "anton, same password: approves; lena: Legal" in shown
    )
    assert _without_links(second) in _without_links(first)
    # Cards were charged when their invoices were issued, by Stripe's clock of those days.
    late = manage(
        "shell",
        "-c",
        "from datetime import timedelta; from django.db.models import F; from invoicing.payments.models import Payment;"
        " paid = Payment.objects.filter(channel='stripe'); day = timedelta(days=1);"
        " print(paid.filter(received_at__gt=F('invoice__issued_at') + day).count(), paid.count() > 60)",
    )
    assert late.splitlines()[-1] == "0 True"
    assert "all equal" in manage("verify")
    assert "wrong" not in manage("doctor")


def invoices_shown(table: str) -> tuple[int, ...]:
    """How many invoices there are, paid, open and given up: the rows of totals, one a currency."""
    rows = [[cell.strip() for cell in line.split("│")] for line in table.splitlines() if line.startswith("│ Total ")]
    return tuple(sum(int(row[column]) for row in rows) for column in (2, 3, 4, 5))


def _without_links(text: str) -> str:
    """A portal link is signed at the moment it is printed."""
    return "\n".join(line for line in text.splitlines() if "/portal/enter/" not in line)
