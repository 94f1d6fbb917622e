"""Dunning in the back office: the list, the story of a case, what people arrange, policies, and who gets what tomorrow."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.dunning_queue import dunning_queues
from billing_site.kernel import clock
from dunning.arrangements.models import Hold, Promise
from dunning.cases.operations import wait
from dunning.core.policy import SHORT, terms_stored
from dunning.handover.models import HandOverDownload
from dunning.handover.operations import make_files
from dunning.overdue.models import OverdueTerms
from dunning.policies.models import PolicyAssignment, PolicyVersion
from dunning.policies.operations import ensure_presets, publish_policy
from dunning.sweep import sweep_dunning
from invoicing.invoices.models import Invoice, Objection
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.dunning.chasing import by_policy, case_of, deliver, late_customer, local, pay, turn
from tests.factories import a_customer
from tests.invoicing.selling import item, once

pytestmark = pytest.mark.django_db

CASES = "/admin/dunning/dunningcase/"
POLICIES = "/admin/dunning/policyversion/"
WHY = {"reason": "as they asked"}


@pytest.fixture
def case(monkeypatch):
    """Somebody who is late, a day after the first reminder."""
    invoice = late_customer()
    at = local("2026-08-16 09:00", invoice.customer)
    monkeypatch.setattr("dunning.admin.cases.now", lambda: at + timedelta(days=1))
    monkeypatch.setattr("dunning.admin.overdue.now", lambda: at + timedelta(days=2))
    monkeypatch.setattr("dunning.admin.handover.now", lambda: at + timedelta(days=1))
    monkeypatch.setattr("dunning.admin.policies.now", lambda: at + timedelta(days=1))
    monkeypatch.setattr(clock, "now", lambda: at + timedelta(days=1))
    sweep_dunning(at=at)
    return case_of(invoice.customer)


def test_the_list_says_who_is_late_with_how_much_and_what_comes_next(finance: Client, support: Client, case) -> None:
    listed = text_of(finance.get(CASES))

    assert "Acme GmbH" in listed and "USD 31.00" in listed
    assert "Day 3: write to the customer" in listed
    assert text_of(support.get(CASES)) and support.get(f"{CASES}{case.pk}/hold/").status_code == 403


def test_the_page_tells_the_story_and_what_comes_next(finance: Client, case) -> None:
    page = text_of(finance.get(f"{CASES}{case.pk}/change/"))

    assert "Day 1" not in page and "Day 0: write to the customer, over USD 31.00" in page
    assert "suspend service" in page and "close the customer" in page
    assert "2026-08-15" in page and "Standard: 14 and 28 days (version 1)" in page


def instalments(*rows: tuple[str, str]) -> dict[str, list[str]]:
    """What the rows of a promise send."""
    days, amounts = zip(*rows, strict=True)
    return {"instalments-day": list(days), "instalments-amount": list(amounts)}


def test_a_case_that_nobody_was_told_of_says_so_though_it_was_looked_at_in_quiet_hours(
    finance: Client, monkeypatch
) -> None:
    customer = late_customer(email="").customer
    by_policy("short", customer)
    turn(local("2026-08-16 09:00", customer), local("2026-08-19 12:00", customer))
    monkeypatch.setattr("dunning.admin.cases.now", lambda: local("2026-08-19 21:00", customer))
    case = case_of(customer)
    wait(case=case, because="quiet hours, or a day off, where the customer is")

    page = text_of(finance.get(f"{CASES}{case.pk}/change/"))

    why = "was never told (Warning is undeliverable, the customer has no e-mail address)"
    assert f"Waits: {why}. Next, once somebody acts: restrict service." in page and "quiet hours" not in page


def test_the_story_has_no_payment_of_what_was_not_late(finance: Client, case) -> None:
    customer = case.customer
    other = once(customer, item("7"), key="not-late", at=case.opened_at)
    pay(other, case.opened_at + timedelta(hours=2))
    pay(case.anchor_invoice, case.opened_at + timedelta(hours=3), "5")

    story = text_of(finance.get(f"{CASES}{case.pk}/change/"))

    assert "USD 5.00 came for" in story and "USD 7.00 came for" not in story


def test_people_hold_promise_object_and_take_a_step_by_hand(finance: Client, case) -> None:
    page = f"{CASES}{case.pk}/"

    past = finance.post(f"{page}hold/", WHY | {"kind": "vip", "until_0": "2026-08-01", "until_1": "09:00"})
    assert "a hold ends later than it begins" in past.context["form"].errors["until"]
    held = finance.post(f"{page}hold/", WHY | {"kind": "vip", "until_0": "", "until_1": ""})
    assert held.status_code == 302 and Hold.objects.get().reason == "as they asked"
    # Nobody knows when it ends: it says no day, and not now.
    told = text_of(finance.get(f"{page}change/"))
    assert "Next, once somebody acts: write to the customer." in told and "earliest" not in told
    assert finance.post(f"{page}lift/", WHY).status_code == 302
    assert Hold.objects.get().ended_because == "as they asked"
    assert 'value="31.00"' in finance.get(f"{page}promise/").content.decode(), "the whole, to begin with"
    wrong = finance.post(f"{page}promise/", WHY | instalments(("soon", "30"), ("2026-09-01", "many")))
    assert wrong.context["form"].errors["instalments"] == [
        "Row 1: write a day such as 2026-12-01, not “soon”.",
        "Row 2: Enter an amount with a point: 50.00.",
    ]
    less = finance.post(f"{page}promise/", WHY | instalments(("2026-09-01", "30.00")))
    assert "the amounts come to USD 30.00, and USD 31.00 are late" in less.context["form"].errors["instalments"]
    assert 'value="30.00"' in less.content.decode() and not Promise.objects.exists(), "what was typed stays"
    assert finance.post(f"{page}promise/", WHY | instalments(("2026-09-01", "31.00"))).status_code == 302
    assert finance.post(f"{page}withdraw/", WHY).status_code == 302
    assert Promise.objects.get().outcome == "withdrawn"
    objected = WHY | {"invoice": str(case.anchor_invoice_id), "amount": "11"}
    more = finance.post(f"{page}object/", objected | {"amount": "40"})
    assert "only USD 31.00 are open of" in str(more.context["form"].errors["amount"])
    assert finance.post(f"{page}object/", objected).status_code == 302
    assert finance.post(f"{page}decide/", WHY).status_code == 302
    assert Objection.objects.get().ended_because == "as they asked"
    assert 'name="number" value="2"' in finance.get(f"{page}step/").content.decode()
    stale = finance.post(f"{page}step/", WHY | {"number": "1"}, follow=True)
    assert "step 1 is not the next one any more" in text_of(stale) and case.steps.count() == 1
    assert finance.post(f"{page}step/", WHY | {"number": "2"}).status_code == 302
    assert [bool(step.why) for step in case.steps.order_by("number")] == [False, True]
    assert finance.post(f"{page}hand_over/", WHY).status_code == 302
    case.refresh_from_db()
    assert case.state == "handed_over"
    story = text_of(finance.get(f"{page}change/"))
    assert "The promise is withdrawn" in story and "Handed over" in story
    changes = text_of(finance.get(reverse("admin:backoffice_changes")))
    assert all(word in changes for word in ("dunning hold", "promise to pay", "objection", "as they asked"))


def test_a_step_that_waits_says_so_with_the_earliest_day_on_case_list_and_rehearsal(
    finance: Client, case, monkeypatch
) -> None:
    page, at = f"{CASES}{case.pk}/", case.opened_at + timedelta(days=9)
    finance.post(f"{page}promise/", WHY | instalments(("2026-08-28", "10.00"), ("2026-09-18", "21.00")))
    # Friday's instalment is missed when Monday is over; the next one waits as long.
    days = ["2026-09-01 08:00 UTC", "2026-09-05 09:00 UTC", "2026-09-09 09:00 UTC", "2026-09-12 09:00 UTC"]
    for module in ("cases", "overdue"):
        monkeypatch.setattr(f"dunning.admin.{module}.now", lambda: at)

    case_page = text_of(finance.get(f"{page}change/"))
    assert "Waits: the customer has promised to pay. Next, at the earliest on 2026-09-01 08:00 UTC" in case_page
    ahead = case_page.partition("What comes next")[2].partition("Story")[0]
    assert re.findall(r"earliest (\S+ \S+ UTC)", ahead)[:4] == days and "2026-08-18" not in ahead
    assert "waits earliest 2026-09-01 08:00 UTC" in text_of(finance.get(CASES))
    rehearsed = text_of(finance.get(f"{CASES}rehearsal/"))
    assert "0 steps, 0 of them take something from a customer. 1 waits and is not taken by then." in rehearsed
    assert "waits earliest 2026-09-01 08:00 UTC" in rehearsed and "2026-09-12" in rehearsed, "the grave day"
    pay(case.anchor_invoice, at, "10.00")
    assert "waits earliest 2026-09-22 08:00 UTC" in text_of(finance.get(CASES))


def test_the_rehearsal_says_who_gets_what_in_which_words(finance: Client, case) -> None:
    rehearsed = text_of(finance.get(f"{CASES}rehearsal/"))

    assert "Acme GmbH" in rehearsed and "USD 31.00" in rehearsed and "Reminder" in rehearsed
    assert "2026-08-29" in rehearsed, "the day of the suspension, which the notice tells"


def test_the_rehearsal_shows_what_is_told_besides_the_steps(finance: Client, case) -> None:
    deliver(case.opened_at)
    finance.post(f"{CASES}{case.pk}/promise/", WHY | instalments(("2026-08-19", "10.00"), ("2026-09-18", "21.00")))

    rehearsed = text_of(finance.get(f"{CASES}rehearsal/")).partition("Besides the steps")[2]

    assert "Acme GmbH USD 10.00 An instalment is due Instalment due English, version 1" in rehearsed
    assert "came with the product 2026-08-19" in rehearsed


def test_the_next_version_of_a_policy_is_written_step_by_step(finance: Client, case) -> None:
    standard = PolicyVersion.objects.get(key="standard")
    shown = finance.get(f"{POLICIES}{standard.pk}/change/").content.decode()
    assert f"{POLICIES}add/?from={standard.pk}" in shown
    blank = finance.get(f"{POLICIES}add/?from={standard.pk}").content.decode()
    assert 'value="28"' in blank and '<option value="suspend" selected>' in blank and 'value="Standard: 14' in blank
    form = {
        "key": "standard",
        "name": "Standard: 5 and 30 days",
        "in_force_from_0": "2030-01-01",
        "in_force_from_1": "00:00",
        "why": "gentler",
        "terms-day": ["30", "5", "", ""],
        "terms-act": ["suspend", "notice", "", ""],
        "terms-notice": ["suspended", "reminder", "", ""],
        "terms-at_hour": "10:00",
        "terms-holidays": "2030-12-25, 2030-12-26",
        "terms-currency": ["eur", ""],
        "terms-minimum": ["10.00", ""],
        "terms-owner": ["Fiona", ""],
        "terms-days": ["3", ""],
    }

    wrong = finance.post(f"{POLICIES}add/", form | {"terms-day": ["soon", "5", "", ""], "terms-holidays": "Christmas"})
    told = text_of(wrong)
    assert (
        "step 2: say on which day it is taken" in told
        and "holiday 'Christmas': write a day such as" in told.replace("&#x27;", "'")
    )
    assert 'value="soon"' in wrong.content.decode(), "what was entered stays"
    tried = finance.post(f"{POLICIES}backtest/", form)
    assert "key=standard&name=Standard%3A+5+and+30+days" in tried.context["publish"], "its name stays"
    assert finance.post(f"{POLICIES}add/", form).status_code == 302
    terms = PolicyVersion.objects.get(key="standard", number=2).read
    assert [(step.day, step.act, step.notice) for step in terms.steps] == [
        (5, "notice", "reminder"),
        (30, "suspend", "suspended"),
    ]
    assert (terms.at_hour.hour, len(terms.holidays), terms.weekend) == (10, 2, ())
    assert (terms.minimum("EUR"), terms.escalation[0].owner) == (10, "Fiona")


def test_the_public_holidays_of_a_country_are_offered_and_missed_before_they_run_out(
    finance: Client, support: Client, case
) -> None:
    found = finance.get(f"{POLICIES}holidays/?place=de-by").json()

    assert found["weekend"] == [5, 6] and {"2026-12-25", "2027-01-06", "2028-06-15"} <= set(found["holidays"])
    wrong = finance.get(f"{POLICIES}holidays/?place=Bavaria")
    assert "such as DE-BY" in wrong.json()["problem"]
    assert 'data-holidays="/admin/dunning/policyversion/holidays/"' in finance.get(f"{POLICIES}add/").content.decode()
    terms = terms_stored(SHORT) | {"business_days": True, "holidays": found["holidays"]}
    publish_policy(
        key="short", name="Short", terms=terms, in_force_from=case.opened_at, at=case.opened_at, actor="a", reason="b"
    )
    version = PolicyVersion.objects.get(key="short", number=2)
    shown = text_of(finance.get(f"{POLICIES}{version.pk}/change/"))
    count = len(found["holidays"])
    assert f"not on Saturday or Sunday, nor on {count} holidays, the last on {max(found['holidays'])}" in shown
    counts = [
        next(one.count for one in dunning_queues(at=at) if "without holidays" in one.name)
        for at in (case.opened_at, datetime(2028, 11, 15, tzinfo=UTC))
    ]
    assert counts == [0, 1]


def test_looking_at_the_queues_of_a_new_house_writes_no_policies() -> None:
    assert not PolicyVersion.objects.exists()

    dunning_queues(at=datetime(2026, 8, 1, tzinfo=UTC))

    assert not PolicyVersion.objects.exists()


def test_a_policy_is_published_as_the_next_version_and_assigned(finance: Client, case) -> None:
    ensure_presets()
    steps = '{"steps": [{"day": 1, "act": "notice", "notice": "reminder"}, {"day": 30, "act": "hand_over"}]}'
    form = {
        "key": "gentle",
        "name": "Gentle",
        "in_force_from_0": "2030-01-01",
        "in_force_from_1": "00:00",
        "why": "new",
    }

    refused = finance.post(f"{POLICIES}add/", form | {"terms": '{"steps": []}'})
    assert "a policy has 1 to 40 steps" in text_of(refused)
    typo = finance.post(f"{POLICIES}add/", form | {"terms": '{"steps": [\n{"day": 1,,}]}'})
    assert "in line 2 at character" in text_of(typo)
    assert finance.post(f"{POLICIES}add/", form | {"terms": steps}).status_code == 302
    assert PolicyVersion.objects.get(key="gentle").number == 1
    assigned = {"policy": "gentle", "customer": str(case.customer_id), "country": "", "why": "a friend"}
    assert finance.post("/admin/dunning/policyassignment/add/", assigned).status_code == 302
    row = PolicyAssignment.objects.get()
    assert finance.post(f"/admin/dunning/policyassignment/{row.pk}/end/", WHY).status_code == 302
    row.refresh_from_db()
    assert row.ended_because == "as they asked"
    assert "hand over to people" in text_of(finance.get(POLICIES))


def test_the_index_says_what_is_done_tomorrow(finance: Client, case) -> None:
    index = text_of(finance.get("/admin/"))

    assert "Dunning steps tomorrow" in index and "Broken promises" in index


def test_a_broken_promise_is_as_old_as_the_day_on_which_it_broke(finance: Client, case, monkeypatch) -> None:
    finance.post(f"{CASES}{case.pk}/promise/", WHY | instalments(("2026-08-20", "31.00")))
    sweep_dunning(at=local("2026-08-22 09:00", case.customer))
    finance.post(f"{CASES}{case.pk}/hand_over/", WHY)

    [queue] = [one for one in dunning_queues(at=case.opened_at) if one.name == "Broken promises"]

    assert (queue.count, queue.oldest) == (1, local("2026-08-22 09:00", case.customer))
    assert "Acme GmbH" in text_of(finance.get(f"{CASES}?state=broken"))


def test_a_customer_is_held_on_its_own_page_before_anything_is_late(finance: Client, support: Client) -> None:
    customer = a_customer("cust_vip", name="Important Ltd")
    page, hold = f"/admin/invoicing/customer/{customer.pk}/change/", f"{CASES}of/{customer.pk}/hold/"

    assert support.get(hold).status_code == 403 and hold not in support.get(page).content.decode()
    assert "Hold dunning" in text_of(finance.get(page))
    asked = finance.post(hold, WHY | {"kind": "vip", "until_0": "", "until_1": ""})
    assert (asked.status_code, asked.url) == (302, page)
    shown = text_of(finance.get(page))
    assert "Lift the hold of dunning" in shown and "VIP: people look after it themselves (as they asked)" in shown
    assert finance.post(f"{CASES}of/{customer.pk}/lift/", WHY).status_code == 302
    assert Hold.objects.get().ended_because == "as they asked"


def test_interest_is_set_shown_with_its_proof_charged_and_waived(
    finance: Client, support: Client, case, monkeypatch
) -> None:
    form = {"policy": "", "country": "", "audience": "", "valid_from": "2026-01-01", "base_rate": "1.27", "points": "8"}
    form |= {"currency": "usd", "lump": "40", "fee": "0", "free_reminders": "1", "why": "as the law has it"}
    adding, page = "/admin/dunning/overdueterms/add/", f"{CASES}{case.pk}/"

    offered = text_of(finance.get(adding))
    assert (
        "Germany, companies 9 points over the base rate, 40 EUR once for each invoice; § 288 (2) and (5) BGB" in offered
    )
    filled = finance.get(f"{adding}?preset=de-companies")
    begun = filled.context["adminform"].form.initial
    assert (begun["country"], begun["points"], begun["lump"], begun.get("base_rate")) == ("DE", 9, 40, None)
    assert "Look up the base rate" in text_of(filled) and not OverdueTerms.objects.exists(), "nothing holds by itself"
    assert "is no currency" in text_of(finance.post(adding, form | {"currency": "XXY"}))
    assert "40.005 USD cannot be paid" in text_of(finance.post(adding, form | {"lump": "40.005"}))
    asked = finance.post(adding, form)
    told = text_of(asked)
    assert "By today this costs 1 customer on 1 invoice more than without them" in told
    assert "Lump sum USD 40.00" in told and "Interest USD 0.02" in told and not OverdueTerms.objects.exists()
    [shown] = re.findall(r'name="shown" value="([0-9a-f]{64})"', asked.content.decode())
    assert finance.post(adding, form | {"shown": shown}).status_code == 302
    assert "1.27 + 8" in text_of(finance.get("/admin/dunning/overdueterms/"))
    assert "Interest and fees so far" in text_of(finance.get(f"{page}change/"))
    shown = text_of(finance.get(f"{page}charge/"))
    assert "Lump sum for late payment" in shown and "31 for 2 days at 9.27 %" in shown and "USD 40.02" in shown
    assert support.get(f"{page}charge/").status_code == 403
    [digest] = re.findall(r'name="digest" value="([0-9a-f]{64})"', finance.get(f"{page}charge/").content.decode())
    monkeypatch.setattr("dunning.admin.overdue.now", lambda: case.opened_at + timedelta(days=3))
    for deed in ("charge", "waive"):
        outdated = text_of(finance.post(f"{page}{deed}/", WHY | {"digest": digest}, follow=True))
        assert "paying late has cost something else by now than what was shown" in outdated
    monkeypatch.setattr("dunning.admin.overdue.now", lambda: case.opened_at + timedelta(days=2))
    charged = text_of(finance.post(f"{page}charge/", WHY | {"digest": digest}, follow=True))
    invoice = Invoice.objects.get(total="40.02")
    assert f"USD 40.02 of interest and fees are charged by {invoice}" in charged
    assert f"Interest and fees: USD 40.02 by {invoice}" in charged, "in the story of the case"
    listed = text_of(finance.get("/admin/dunning/overduecharge/"))
    assert "Lump sum on" in listed and "Interest of 2026-08-16" in listed
    again = text_of(finance.post(f"{page}waive/", WHY | {"digest": digest}, follow=True))
    assert "paying late has cost nothing that is not charged or waived" in again


def test_the_hand_over_file_is_downloaded_by_who_may_and_each_download_is_kept(
    finance: Client, support: Client, case
) -> None:
    page = f"{CASES}{case.pk}/"

    asked_first = text_of(finance.get(f"{page}hand_over/"))
    assert "USD 31.00 on 1 invoice are late. Within minutes the file for collectors is made" in asked_first
    assert finance.post(f"{page}hand_over/", WHY).status_code == 302
    assert finance.get(f"{page}file/").status_code == 302, "it is not made yet"
    assert "The file for collectors is made within minutes." in text_of(finance.get(f"{page}change/"))
    make_files(at=case.opened_at + timedelta(days=1))
    assert "Download the hand-over file" in text_of(finance.get(f"{page}change/"))
    assert support.get(f"{page}file/").status_code == 403
    answer = finance.get(f"{page}file/")
    assert (answer["Content-Type"], answer.content[:2]) == ("application/zip", b"PK")
    assert HandOverDownload.objects.get().file.digest == answer["X-SHA256"]
    story = text_of(finance.get(f"{page}change/"))
    assert f"SHA-256 {answer['X-SHA256']}" in story and "The file for collectors was downloaded" in story
    assert "tell whoever has it" not in story
    pay(case.anchor_invoice, case.opened_at + timedelta(days=1, hours=1), "11")
    part_paid = text_of(finance.get(f"{page}change/"))
    assert "says USD 31.00 ; USD 20.00 are late now: tell whoever has it." in part_paid
    asked = WHY | {"owner": "Legal", "until": "2026-08-20"}
    nobody = finance.post(f"{page}assign/", asked | {"owner": "nobody"})
    assert "nobody is not one of the available choices" in str(nobody.context["form"].errors["owner"])
    assert finance.post(f"{page}assign/", asked).status_code == 302
    assert "Legal until" in text_of(finance.get(f"{page}change/"))
