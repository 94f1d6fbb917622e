"""What may be asked of the gate: how checks are set, what is held, and how often each check was right."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet, Subquery

from billing_site.kernel.among import among
from invoicing.core.gate import CHECKS, RULES, Check, Rule
from invoicing.core.gate_states import GateState
from invoicing.customers.models import Customer
from invoicing.gate.models import IN_FORCE, GateSetting, HoldOutcome, InvoiceHold
from invoicing.invoices.models import Invoice, InvoiceStatus


@dataclass(frozen=True)
class HitRate:
    """How often a check held a draft, and what became of it: changed (or gone), released as it was, no longer found, or it waits."""

    fired: int = 0
    changed: int = 0
    released: int = 0
    cleared: int = 0

    @property
    def waiting(self) -> int:
        """How many still wait for somebody."""
        return self.fired - self.changed - self.released - self.cleared

    @property
    def percent(self) -> int | None:
        """How many of a hundred that somebody decided about were changed; None while nobody has decided."""
        decided = self.changed + self.released
        return round(100 * self.changed / decided) if decided else None


def rules_in_force() -> dict[Check, Rule]:
    """Return how each check is made now: as it was set last, or as the house sets it."""
    newest = GateSetting.objects.order_by("check_name", "-number").distinct("check_name")
    return RULES | {Check(one.check_name): Rule(one.is_on, one.threshold, one.takes_two) for one in newest}


def newest_setting(*, check: Check) -> GateSetting | None:
    """Return the setting of a check that is in force; None where the house has set nothing."""
    return GateSetting.objects.filter(check_name=check.value).order_by("-number").first()


def odd_checks(*, held: InvoiceHold) -> list[str]:
    """Return the titles of the checks that held a draft and of which two people release what they hold."""
    rules = rules_in_force()
    found = [Check(one["check"]) for one in held.findings]
    return [CHECKS[check].title for check in found if rules[check].takes_two]


def held_now() -> "QuerySet[InvoiceHold]":
    """Return the drafts that wait for somebody to release or change them, oldest first."""
    return (
        InvoiceHold.objects.filter(state=GateState.HELD.value)
        .select_related("customer", "invoice")
        .order_by("held_at", "id")
    )


def drafts_not_held() -> "QuerySet[Invoice]":
    """Return the drafts that may be issued as far as the gate is concerned: ordinary ones, and those that were released."""
    held = InvoiceHold.objects.filter(invoice=OuterRef("pk"), state=GateState.HELD.value)
    return Invoice.objects.filter(~Exists(held), status=InvoiceStatus.DRAFT)


def with_gate_state(*, invoices: "QuerySet[Invoice]") -> "QuerySet[Invoice]":
    """Return the invoices with `gate_state`: held, ready, or None where no hold is in force."""
    in_force = InvoiceHold.objects.filter(
        invoice=OuterRef("pk"), invoice__status=InvoiceStatus.DRAFT, state__in=IN_FORCE
    )
    return invoices.annotate(gate_state=Subquery(in_force.values("state")[:1]))


def holds_in_force(*, customers: Sequence[Customer]) -> "QuerySet[InvoiceHold]":
    """Return the holds of drafts of some customers, held or released."""
    return InvoiceHold.objects.filter(among("customer", [customer.pk for customer in customers]), state__in=IN_FORCE)


def hold_in_force(*, invoice: Invoice) -> InvoiceHold | None:
    """Return the hold of a draft, held or released; None where it is an ordinary one."""
    return InvoiceHold.objects.filter(invoice=invoice, state__in=IN_FORCE).first()


def hit_rates() -> dict[Check, HitRate]:
    """Return the hit rate of each check, in one query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT finding ->> 'check', count(*),
                   count(*) FILTER (WHERE outcome IN (%s, %s) AND released_at IS NULL),
                   count(*) FILTER (WHERE released_at IS NOT NULL),
                   count(*) FILTER (WHERE outcome = %s AND released_at IS NULL)
            FROM invoicing_invoicehold, jsonb_array_elements(findings) AS finding GROUP BY 1
            """,
            [HoldOutcome.CHANGED, HoldOutcome.GONE, HoldOutcome.CLEARED],
        )
        counts = {check: HitRate(*figures) for check, *figures in cursor.fetchall()}
    return {check: counts.get(check.value, HitRate()) for check in Check}
