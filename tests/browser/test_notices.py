"""Words of notices in a real browser: Finance drafts beside a live preview, Legal approves; what was sent is looked at by staff and customer."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from playwright.sync_api import Page, expect

from billing_site.backoffice.roles import ensure_roles
from billing_site.kernel.clock import now
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import MailEventKind, Notice
from dunning.notices.preview import in_theme
from dunning.notices.queries import version_in_force
from dunning.notices.template_operations import install_built_ins
from dunning.notices.templates import NoticeTemplate
from dunning.notices.tracking import record_event
from invoicing.customers.portal_links import link_for
from tests.browser.conftest import DESKTOP, PHONE
from tests.dunning.notices.telling import an_open_invoice, another_invoice, planned, sent

# A folder here keeps pictures of the pages to look at.
PICTURES = os.environ.get("PICTURES_DIR", "")
NAME = "Meridian Freight International Holdings and Subsidiaries (Deutschland) Verwaltungsgesellschaft"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def told(transactional_db: Any) -> Notice:
    """Somebody with two overdue invoices was told of them."""
    install_built_ins(at=now())
    first = an_open_invoice(amount="18204.11", name=NAME)
    second = another_invoice(first.customer, amount="912")
    at = now()
    return sent(planned(first, second, kind=NoticeKind.WARNING, acts_on=(at + timedelta(days=7)).date(), at=at), at=at)


@pytest.mark.requirement("S2-023")
@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_finance_drafts_beside_a_live_preview_and_legal_approves(
    new_page: Callable[..., Page], live_server: Any, told: Notice, width: int, scheme: str
) -> None:
    template = NoticeTemplate.objects.get(kind=NoticeKind.WARNING, language="en")
    page = signed_in(new_page(width=width, scheme=scheme), live_server.url, "fiona", "Finance")
    page.goto("/admin/dunning/noticetemplate/")
    look(page, f"templates-{width}")
    page.goto(f"/admin/dunning/noticetemplate/{template.pk}/change/")
    look(page, f"template-{width}")
    page.get_by_role("link", name="Draft new words").click()

    page.get_by_label("Subject").fill("Please look: {total} is open, {nonsense}")
    expect(page.get_by_text("{nonsense} is not known")).to_be_visible()
    look(page, f"words-wrong-{width}")
    page.get_by_label("Subject").fill("Please look: {total} is open")
    expect(page.locator("#bo-preview").get_by_text("Please look: USD 19,116.11 is open")).to_be_visible()
    page.get_by_label("Reason").fill("warmer")
    look(page, f"words-{width}")
    page.get_by_role("button", name="Save the draft").click()
    expect(page.get_by_text("A draft of yours")).to_be_visible()
    page.get_by_role("link", name="Ask for approval").click()
    page.get_by_label("Reason").fill("please look")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text("somebody of Legal decides")).to_be_visible()
    look(page, f"asked-{width}")

    lena = signed_in(new_page(width=width, scheme=scheme), live_server.url, "lena", "Legal")
    lena.goto(page.url)
    look(lena, f"version-{width}")
    lena.get_by_role("link", name="Approve").click()
    lena.get_by_label("Reason").fill("kind and exact")
    look(lena, f"approve-{width}")
    lena.get_by_role("button", name="Approve").click()

    expect(lena.get_by_text("This is what customers are told.")).to_be_visible()
    look(lena, f"approved-{width}")
    version = version_in_force(kind=NoticeKind.WARNING, language="en")
    assert version is not None
    assert (version.decided_by, version.subject) == ("lena", "Please look: {total} is open")


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_what_was_sent_is_looked_at_by_staff(
    new_page: Callable[..., Page], live_server: Any, told: Notice, width: int, scheme: str
) -> None:
    no_address = an_open_invoice("cust_mute", name="Mute Ltd", email="")
    lost = sent(planned(no_address, reference="case 2"))
    record_event(
        kind=MailEventKind.BOUNCE,
        address=told.to_address,
        provider_id="",
        notice_key=str(told.pk),
        named="postmark 1",
        said="550 5.1.1 no such user",
        occurred_at=now(),
    )
    page = signed_in(new_page(width=width, scheme=scheme), live_server.url, "fiona", "Finance")

    page.goto("/admin/dunning/notice/")
    expect(page.get_by_text("the customer has no e-mail address").first).to_be_visible()
    look(page, f"notices-{width}-{scheme}")
    page.goto(f"/admin/dunning/notice/{told.pk}/change/")
    for theme in ("light", "dark"):
        drawn = page.frame_locator(f"iframe[title='The mail in a {theme} theme']")
        expect(drawn.get_by_text("so that your service goes on without a break")).to_be_visible()
    look(page, f"notice-{width}-{scheme}")
    page.goto(f"/admin/dunning/notice/{lost.pk}/change/")
    expect(page.get_by_role("link", name="Send it again")).to_be_visible()
    look(page, f"notice-lost-{width}-{scheme}")
    page.goto("/admin/dunning/blockedaddress/")
    look(page, f"blocked-{width}-{scheme}")
    page.get_by_role("link", name=told.to_address).first.click()
    look(page, f"blocked-one-{width}-{scheme}")
    page.get_by_role("link", name="Write to it again").click()
    page.get_by_label("Reason").fill("their mailbox works again")
    page.get_by_role("button", name="Write to it again").click()
    expect(page.get_by_text("is written to again")).to_be_visible()
    page.goto("/admin/")
    look(page, f"index-{width}-{scheme}")


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
def test_the_customer_reads_it_in_the_portal_and_sees_what_is_overdue_on_every_page(
    new_page: Callable[..., Page], live_server: Any, told: Notice, settings: Any, width: int, scheme: str
) -> None:
    settings.PUBLIC_URL = live_server.url
    page = new_page(width=width, scheme=scheme)
    page.goto(link_for(customer_key="cust_acme"))

    for name in ("Usage and cost", "Invoices", "Notices"):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_label("Overdue")).to_contain_text("2 invoices are overdue")
        expect(page.get_by_label("Overdue")).to_contain_text("Please pay before")
        look(page, f"portal-{name.split()[0].lower()}-{width}")
    page.get_by_role("link", name=told.subject).click()
    expect(page.get_by_text("Please pay USD 19,116.11, so that your service goes on")).to_be_visible()
    look(page, f"portal-notice-{width}")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_mail_is_read_in_both_themes(
    new_page: Callable[..., Page], told: Notice, width: int, scheme: str, browser_log: Any
) -> None:
    page = new_page(width=width, scheme=scheme)

    page.set_content(told.html)

    button = page.get_by_role("link", name="Pay USD 19,116.11")
    expect(button).to_be_visible()
    background = "getComputedStyle(document.querySelector('.sheet')).backgroundColor"
    assert page.evaluate(background) == {"light": "rgb(255, 255, 255)", "dark": "rgb(29, 32, 38)"}[scheme]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    look(page, f"mail-{width}-{scheme}")
    # What the back office shows as dark is dark whatever the theme of whoever looks at it.
    page.set_content(in_theme(told.html, "dark"))
    assert page.evaluate(background) == "rgb(29, 32, 38)"
    page.set_content(in_theme(told.html, "light"))
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def signed_in(page: Page, url: str, name: str, group: str) -> Page:
    """The page of somebody of a group."""
    ensure_roles()
    person, _ = User.objects.get_or_create(username=name, is_staff=True)
    person.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(person)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
    return page


def look(page: Page, name: str) -> None:
    """Keep a picture, and look that nothing is wider than the page; between two pages there is none to look at."""
    page.wait_for_load_state()
    page.wait_for_function("document.documentElement !== null")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.evaluate("window.innerWidth")
    if PICTURES:
        Path(PICTURES).mkdir(exist_ok=True)
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)
