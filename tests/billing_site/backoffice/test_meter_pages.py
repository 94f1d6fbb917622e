"""Usage that Stripe settles, in the back office: begun with a reason, looked at row by row, repaired, ended."""

from typing import Any

import pytest
from django.test import Client

from billing_site.backoffice.meter_queue import meter_queue
from billing_site.kernel.clock import now
from invoicing.meter_reports.models import MeterReport, RepairCase
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from metering.models import Meter
from tests.billing_site.backoffice.conftest import a_member
from tests.billing_site.backoffice.test_what_if_pages import text_of
from tests.factories import use
from tests.invoicing.meter_reports.building import EVENT_NAME, a_meter_at_stripe, a_subscriber, hours_ago, report
from tests.invoicing.meter_reports.conftest import listener, sandbox
from tests.invoicing.payments.building import run_queued_jobs

__all__ = ["listener", "sandbox"]

PAGES = "/admin/invoicing/"


def form(**changed: Any) -> dict[str, str]:
    return {
        "subscription": "sub_cust_acme",
        "meter": str(Meter.objects.get(key="actions").pk),
        "mode": "events",
        "event_name": EVENT_NAME,
        "starts_at": f"{hours_ago(24):%Y-%m-%d %H:%M}",
        "reason": "agreed",
    } | changed


def test_usage_is_settled_by_stripe_repaired_and_ended_each_with_a_reason(sandbox: Any) -> None:
    finance, support = a_member("fiona", "Finance"), a_member("sam", "Support")
    a_meter_at_stripe(sandbox)
    a_subscriber()

    wrong = text_of(finance.post(f"{PAGES}meterreporting/add/", form(event_name="another")))
    unknown = text_of(finance.post(f"{PAGES}meterreporting/add/", form(subscription="sub_x")))
    forbidden = support.post(f"{PAGES}meterreporting/add/", form())
    begun = finance.post(f"{PAGES}meterreporting/add/", form())
    reporting = MeterReporting.objects.get()
    use("cust_acme", "7", at=hours_ago(2), key="req-1")
    report()
    case = RepairCase.objects.get()
    queue = meter_queue()
    listed = [text_of(finance.get(f"{PAGES}{name}/")) for name in ("meterreporting", "meterreport", "repaircase")]
    shown = text_of(finance.get(f"{PAGES}repaircase/{case.pk}/change/"))
    row = text_of(finance.get(f"{PAGES}meterreport/{case.report_id}/change/"))

    assert "Stripe has no active meter for events named another" in wrong
    assert "There is no such subscription" in unknown
    assert forbidden.status_code == 403
    assert begun.status_code == 302 and begun.headers["Location"].endswith(f"/{reporting.pk}/change/")
    assert (queue.count, "Stripe does not know who pays" in queue.why) == (1, True)
    assert "Single events" in listed[0] and "7 actions" in listed[1] and "to look at" in listed[2]
    assert "req-1" in shown and "sub_cust_acme" in shown
    assert "refused" in row

    assert support.post(f"{PAGES}repaircase/{case.pk}/send-again/", {"reason": "x"}).status_code == 403
    finance.post(f"{PAGES}repaircase/{case.pk}/send-again/", {"reason": "a card was left"})
    run_queued_jobs()
    second = RepairCase.objects.get(closed_at=None)
    finance.post(f"{PAGES}repaircase/{second.pk}/give-up/", {"reason": "a gift"})
    finance.post(f"{PAGES}meterreporting/{reporting.pk}/end/", {"reason": "moved back"})
    reporting.refresh_from_db()

    assert RepairCase.objects.order_by("id").first().closed_by == "fiona"
    assert [row.status for row in MeterReport.objects.order_by("ordinal")] == ["refused", "refused", "waived"]
    assert meter_queue().count == 0
    assert reporting.ends_at is not None and reporting.ends_at > now()
    assert "moved back" in text_of(finance.get(f"{PAGES}meterreporting/{reporting.pk}/history/"))


@pytest.mark.django_db
def test_without_any_the_lists_say_what_will_fill_them(finance: Client) -> None:
    assert "Usage is rated here" in text_of(finance.get(f"{PAGES}meterreporting/"))
    assert "before Stripe hears of it" in text_of(finance.get(f"{PAGES}meterreport/"))
    assert "until it is sent again or given up" in text_of(finance.get(f"{PAGES}repaircase/"))
