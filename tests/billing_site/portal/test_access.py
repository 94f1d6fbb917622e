"""A customer sees their own pages and nothing else, by a link that is genuine and fresh."""

import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver

from invoicing.customers.portal_links import link_for
from invoicing.workflows.run_billing import draft_billing
from tests.billing_site.portal.conftest import AUGUST_BERLIN
from tests.billing_site.portal.reading import unpacked
from tests.factories import a_customer

pytestmark = pytest.mark.django_db

GLOBEX = "Globex and Daughters"


def path_of(link: str) -> str:
    return link.removeprefix(settings.PUBLIC_URL)


def addresses(number: str) -> dict[str, str]:
    """Every address of the portal by its name, for one invoice; walked, so that a new one cannot be forgotten."""
    [portal] = [pattern for pattern in get_resolver().url_patterns if str(pattern.pattern) == "portal/"]
    named = {pattern.name: f"/portal/{pattern.pattern}" for pattern in portal.url_patterns}
    filled = {
        name: path.replace("<str:number>", number).replace("<int:number>", "1").replace("<int:position>", "2")
        for name, path in named.items()
    }
    return filled | {"pdf": f"/billing/invoices/{number}/pdf"}


def test_the_walk_sees_every_page():
    assert set(addresses("INV-2026-00001")) == {
        "home",
        "invoices",
        "invoice",
        "pay",
        "card",
        "leave-card",
        "notices",
        "notice",
        "proof",
        "events",
        "inclusion",
        "event",
        "line-usage",
        "checker",
        "credit",
        "data",
        "statement",
        "export",
        "alerts",
        "saving",
        "statement-page",
        "enter",
        "leave",
        "left",
        "pdf",
    }


def test_a_customer_opens_their_own_pages_and_the_pdf(july, visit):
    client = visit("cust_acme")

    for name in ("home", "invoices", "invoice", "line-usage", "alerts"):
        answer = client.get(addresses(july.number)[name])
        assert answer.status_code == 200
        assert "Acme GmbH" in answer.content.decode()
    assert client.get(addresses(july.number)["pdf"]).headers["Content-Type"] == "application/pdf"


def test_no_page_shows_another_customers_name_number_or_amount(july, visit):
    a_customer("cust_globex", name=GLOBEX)
    client = visit("cust_globex")

    for name, path in addresses(july.number).items():
        if name in ("enter", "leave", "leave-card"):
            continue
        answer = client.get(path)
        text = unpacked(answer.content) if name == "export" else answer.content.decode()
        # What was asked for may be repeated; nothing more about it may be known.
        assert "Acme" not in text and str(july.total.amount) not in text and july.seal not in text
        assert answer.status_code == (
            404
            if name in ("invoice", "pay", "notice", "pdf", "proof", "events", "inclusion", "event", "line-usage")
            else 200
        ), name


@pytest.mark.parametrize("number", ["INV-2026-99999", "x%00y", "..%2f..%2fadmin", "%F0%9F%92%B8", "9" * 300])
def test_an_unknown_number_is_not_found_in_the_same_words_as_a_foreign_one(july, visit, number):
    a_customer("cust_globex", name=GLOBEX)
    client = visit("cust_globex")

    foreign = client.get(f"/portal/invoices/{july.number}/").content.decode()
    answer = client.get(f"/portal/invoices/{number}/")

    assert answer.status_code == 404
    if number == "INV-2026-99999":
        assert without_token(answer.content.decode()) == without_token(foreign).replace(july.number, number)


def without_token(text: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)


def test_without_a_link_every_page_says_that_one_is_needed(july, client):
    for name in ("home", "invoices", "invoice"):
        answer = client.get(addresses(july.number)[name])
        assert answer.status_code == 401
        assert "You need a link to see this page" in answer.content.decode()
        assert "Acme" not in answer.content.decode()
    assert client.get(addresses(july.number)["pdf"]).status_code in (302, 401, 403)


def test_a_forged_link_opens_nothing(acme, client):
    genuine = path_of(link_for(customer_key="cust_acme"))
    other = path_of(link_for(customer_key="cust_globex"))
    payload, rest = genuine.removeprefix("/portal/enter/").split(":", 1)
    foreign_payload = other.removeprefix("/portal/enter/").split(":", 1)[0]
    forgeries = [
        f"/portal/enter/{foreign_payload}:{rest}",
        f"/portal/enter/{payload}:{rest[:-3]}AA/",
        "/portal/enter/x/",
        "/portal/enter/%00:%00:%00/",
        "/portal/enter/::/",
    ]

    for forgery in forgeries:
        answer = client.get(forgery)
        assert answer.status_code == 404, forgery
        assert "This link is not valid any more" in answer.content.decode()
    assert client.get("/portal/").status_code == 401


def test_a_link_is_valid_until_its_age_and_not_a_second_longer(acme, client, time_machine):
    time_machine.move_to("2026-08-01T00:00:00Z", tick=False)
    link = path_of(link_for(customer_key="cust_acme"))

    time_machine.shift(settings.PORTAL_LINK_MAX_AGE)
    assert client.get(link).status_code == 302
    time_machine.shift(timedelta(seconds=1))
    assert Client().get(link).status_code == 404


def test_the_session_ends_with_the_age_of_a_link(acme, visit, time_machine):
    time_machine.move_to("2026-08-11T00:00:00Z", tick=False)
    client = visit("cust_acme")

    time_machine.shift(settings.PORTAL_LINK_MAX_AGE - timedelta(seconds=1))
    assert client.get("/portal/").status_code == 200
    time_machine.shift(timedelta(seconds=2))
    assert client.get("/portal/").status_code == 401


def test_a_session_key_that_was_planted_before_opens_nothing_after_signing_in(acme, client):
    client.session["planted"] = True
    session = client.session
    session.save()
    planted = session.session_key
    victim = Client(headers={"cookie": ""})
    victim.cookies["sessionid"] = planted

    victim.get(path_of(link_for(customer_key="cust_acme")))

    assert victim.cookies["sessionid"].value != planted
    attacker = Client()
    attacker.cookies["sessionid"] = planted
    assert attacker.get("/portal/").status_code == 401


def test_the_link_of_another_customer_replaces_the_session(acme, visit):
    a_customer("cust_globex", name=GLOBEX)
    client = visit("cust_acme")

    client.get(path_of(link_for(customer_key="cust_globex")))

    text = client.get("/portal/").content.decode()
    assert GLOBEX in text and "Acme" not in text


def test_signing_out_ends_the_session_on_the_server_too(acme, visit):
    client = visit("cust_acme")
    stolen = client.cookies["sessionid"].value

    answer = client.post("/portal/leave/", follow=True)

    assert "You are signed out" in answer.content.decode()
    assert client.get("/portal/").status_code == 401
    thief = Client()
    thief.cookies["sessionid"] = stolen
    assert thief.get("/portal/").status_code == 401


def test_a_page_of_another_site_cannot_sign_a_customer_out(acme, visit):
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = visit("cust_acme").cookies

    assert strict.post("/portal/leave/").status_code == 403
    assert strict.get("/portal/leave/").status_code == 405
    assert strict.get("/portal/").status_code == 200


def test_staff_who_look_at_a_portal_stay_staff_when_they_leave_it(acme, present):
    staff = Client()
    staff.force_login(User.objects.create_superuser("fiona"))

    staff.get(path_of(link_for(customer_key="cust_acme")))
    assert staff.get("/portal/").status_code == 200
    staff.post("/portal/leave/")

    assert staff.get("/portal/").status_code == 401
    assert staff.get("/admin/", follow=False).status_code == 200


def test_a_customer_without_a_row_is_asked_for_a_link(client, db):
    client.get(path_of(link_for(customer_key="cust_gone")))

    assert client.get("/portal/").status_code == 401


def test_no_page_is_kept_in_a_cache_framed_or_open_to_foreign_code(july, visit):
    client = visit("cust_acme")
    paths = [path for name, path in addresses(july.number).items() if name in ("home", "invoices", "invoice", "left")]

    for path in [*paths, "/portal/invoices/unknown/", path_of(link_for(customer_key="cust_acme"))]:
        headers = client.get(path).headers
        assert "no-store" in headers["Cache-Control"] and "private" in headers["Cache-Control"], path
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"


def test_no_page_has_a_script_a_style_or_another_host_in_it(july, visit):
    client = visit("cust_acme")

    for name in ("home", "invoices", "invoice"):
        text = client.get(addresses(july.number)[name]).content.decode()
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", text)


def test_a_draft_is_not_the_customers_yet(acme, visit):
    draft_billing(as_of=AUGUST_BERLIN, at=AUGUST_BERLIN)
    client = visit("cust_acme")

    assert "No invoice yet" in client.get("/portal/invoices/").content.decode()
    assert client.get("/portal/invoices/None/").status_code == 404
