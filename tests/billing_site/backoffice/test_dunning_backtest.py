"""The page that asks what a policy would have done: of a version, of terms that nobody has published, from the form that publishes."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from dunning.core.policy import SHORT, terms_stored
from dunning.policies.models import PolicyVersion
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.dunning.chasing import chase, late_customer, local, pay

pytestmark = pytest.mark.django_db
PAGE = "/admin/dunning/policyversion/backtest/"


@pytest.fixture
def history(monkeypatch):
    """One who paid on the day before the suspension of the short policy."""
    invoice = late_customer("cust_acme", name="Acme <i>GmbH</i>")
    for day in (16, 18, 22):
        chase(local(f"2026-08-{day} 09:00", invoice.customer))
    pay(invoice, local("2026-08-22 20:00", invoice.customer))
    monkeypatch.setattr("dunning.admin.backtests.now", lambda: local("2026-09-20 12:00", invoice.customer))
    return invoice


def test_a_version_and_terms_that_nobody_has_published_are_compared_with_what_held(
    finance: Client, support: Client, history
) -> None:
    standard, short = PolicyVersion.objects.get(key="standard"), PolicyVersion.objects.get(key="short")

    assert "Nobody would have had another course." in text_of(finance.get(f"{PAGE}?version={standard.pk}"))
    tried = finance.post(PAGE, {"terms": json.dumps(terms_stored(SHORT)), "whom": "standard", "only": ""})
    told = text_of(tried)
    assert "1 customer would have had another course: 0 would have been spared" in told
    assert "that the policies in force would have done to them" in told, "not what was done: that stands in figures"
    assert "3 steps, the last 08-22 write to the customer (reminder)" in told
    assert "lost: restrict service" in told and "USD 31.00" in told and "<i>" not in tried.content.decode()
    assert f"/admin/invoicing/customer/{history.customer_id}/change/" in tried.content.decode()
    spared = finance.post(PAGE, {"terms": json.dumps(terms_stored(SHORT)), "whom": "standard", "only": "spared"})
    assert "Nobody: whoever was late" in text_of(spared)
    file = finance.post(PAGE, {"terms": json.dumps(terms_stored(SHORT)), "whom": "", "format": "csv"})
    assert "08-22 restrict service" in b"".join(file.streaming_content).decode()
    assert finance.get(f"{PAGE}?version={short.pk}").status_code == support.get(PAGE).status_code == 200


def test_of_very_many_a_sample_is_worked_out_and_the_command_tells_of_all(
    finance: Client, history, monkeypatch, tmp_path, capsys
) -> None:
    other = late_customer("cust_other", name="Other Ltd")
    asked = {"terms": json.dumps(terms_stored(SHORT)), "whom": "standard", "only": ""}
    assert "of the 2 customers" not in text_of(finance.post(PAGE, asked))

    monkeypatch.setattr("dunning.admin.backtests.CUSTOMERS_MAX", 1)
    page = finance.post(PAGE, asked)

    told = text_of(page)
    assert "These are the figures of 1 of the 2 customers who were late" in told
    assert "manage.py backtest TERMS.json --policy standard --csv FILE.csv" in told
    assert page.context["found"].tried.customers == 1
    terms, file = tmp_path / "terms.json", tmp_path / "differs.csv"
    terms.write_text(asked["terms"])
    monkeypatch.setattr("dunning.management.commands.backtest.now", lambda: local("2026-09-20 12:00", other.customer))
    call_command("backtest", str(terms), policy="standard", csv=file)
    printed = capsys.readouterr().out
    assert "2 customers were late in the last 90 days. 2 customers would have had another course" in printed
    assert "Other Ltd,cust_other" in file.read_text() and "08-22 restrict service" in file.read_text()
    with pytest.raises(CommandError, match="there is no dunning policy 'nobodys'"):
        call_command("backtest", str(terms), policy="nobodys")


def test_terms_are_tried_from_the_form_that_publishes_them_and_taken_back_to_it(finance: Client, history) -> None:
    add = finance.get("/admin/dunning/policyversion/add/").content.decode()

    assert f'formaction="{PAGE}"' in add
    asked = {"key": "standard", "name": "Standard", "terms": json.dumps(terms_stored(SHORT)), "why": ""}
    page = finance.post(PAGE, asked)
    publish = page.context["publish"]
    assert page.context["form"].cleaned_data["whom"] == "standard"
    assert "restrict" in finance.get(publish).content.decode()
    wrong = finance.post(PAGE, {"key": "new", "terms": '{"steps": []}'})
    assert wrong.status_code == 422 and "A policy has 1 to 40 steps" in text_of(wrong)
    alone = [finance.get(f"{PAGE}{asked}") for asked in ("", "?version=nobody")]
    assert [(page.status_code, page.context["found"]) for page in alone] == [(200, None)] * 2, (
        "only who asks is answered"
    )
    assert "Terms to try" in text_of(alone[0])
