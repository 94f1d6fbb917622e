"""Every day what Stripe's meters have counted is compared with what is counted here."""

import pytest

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from invoicing.meter_reports.compare import compare_sums
from invoicing.meter_reports.models import RepairCase
from invoicing.meter_reports.repair import give_up
from tests.factories import use
from tests.invoicing.meter_reports.building import a_meter_at_stripe, a_reporting, a_subscriber, hours_ago, report

ACME = "cust_acme"


@pytest.fixture
def acme(sandbox):
    a_meter_at_stripe(sandbox)
    return a_subscriber(sandbox=sandbox)


@pytest.mark.requirement("S4-005")
@pytest.mark.requirement("S4-056")
@pytest.mark.parametrize("mode", ["windows", "events"])
def test_equal_sums_open_no_case_and_a_lost_event_one_until_it_is_there_again(acme, mode):
    a_reporting(acme, mode=mode)
    use(ACME, "7.25", at=hours_ago(30))
    use(ACME, "1", at=hours_ago(55))
    report()

    equal = compare_sums(at=now())
    lost = SandboxObject.objects.filter(kind="billing.meter_event").order_by("body__payload__value").last()
    lost.body["_counts"] = False
    lost.save()
    differing = [compare_sums(at=now()) for _ in range(2)]
    case = RepairCase.objects.get()
    lost.body["_counts"] = True
    lost.save()
    again = compare_sums(at=now())

    assert (equal, differing, again) == (0, [1, 1], 0)
    assert case.message == "Stripe has counted 0, we 7.25: 7.25 are missing there."
    assert (case.code, case.subject) == ("summary_differs", f"{hours_ago(30):%Y-%m-%d}")
    assert RepairCase.objects.get().closed_by == "daily comparison"


def test_what_somebody_has_looked_at_is_not_told_again(acme):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(30))
    report()
    SandboxObject.objects.filter(kind="billing.meter_event").delete()

    compare_sums(at=now())
    give_up(case_id=RepairCase.objects.get().pk, at=now(), actor="ada", reason="settled by a credit note")
    compare_sums(at=now())

    assert RepairCase.objects.count() == 1


def test_a_day_of_which_something_is_on_its_way_is_not_judged(acme, sandbox):
    a_reporting(acme)
    use(ACME, "7", at=hours_ago(30))
    sandbox.fault("http_500", times=2)
    report()

    assert compare_sums(at=now()) == 0
