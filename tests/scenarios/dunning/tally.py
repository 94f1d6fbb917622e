"""Say what a world has seen, so that nobody takes an empty one for a proof."""

from collections import Counter
from typing import Any

from django.db.models import Count

from dunning.arrangements.models import Hold, Promise
from dunning.cases.models import CaseStep, DunningCase
from dunning.notices.models import Notice
from invoicing.customers.models import LifeCycleMove
from invoicing.invoices.models import Invoice, Objection
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.models import Payment, PaymentFailure, StripeNotice
from tests.scenarios.dunning.world import World


def tally(world: World, *, seconds: float, cpu_seconds: float, size: str) -> str:
    """Return the figures of a world that has lived."""
    count, days = len(world.lives), world.weather.days
    rows = {
        **_rows(world),
        "looks": f"{len(world.looks)} of {len(world.weather.looks)}, the worker was down for the others",
        "refused": dict(Counter(world.refused).most_common(12)),
        "size": size,
    }
    told = "\n".join(f"  {name}: {said}" for name, said in rows.items())
    return (
        f"seed {world.seed}: {count} customers, {days} days, {seconds:.0f} s ({cpu_seconds:.0f} s of this process),"
        f" {count * days / seconds:,.0f} days of customers a second, {days / seconds * 60:,.0f} days of the clock a minute\n{told}"
    )


def figures_of(world: World, *, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """Return the figures of a world that has lived, such that those of several can be added up."""
    counts: dict[str, int] = {}
    for name, said in _rows(world).items():
        counts |= (
            {f"{name} {kind}".strip(): count for kind, count in said.items()}
            if isinstance(said, dict)
            else {name: said}
        )
    return {
        "lives": len(world.lives),
        "customer_days": len(world.lives) * world.weather.days,
        "looks_taken": len(world.looks),
        "seconds": round(seconds),
        "cpu_seconds": round(cpu_seconds),
        "counts": counts,
    }


def _rows(world: World) -> dict[str, Any]:
    return {
        "invoices": Invoice.objects.count(),
        "payments": Payment.objects.count(),
        "refusals": PaymentFailure.objects.count(),
        "debits": sum(len(paper.debits) for life in world.lives for paper in life.papers),
        "webhooks": StripeNotice.objects.count(),
        "cases": _by(DunningCase, "state"),
        "steps": _by(CaseStep, "act"),
        "notices": _by(Notice, "state"),
        "moves": _by(LifeCycleMove, "to_state"),
        "charges": _by(ChargeAttempt, "status"),
        "promises": _by(Promise, "outcome"),
        "holds": Hold.objects.count(),
        "objections": Objection.objects.count(),
    }


def _by(model: type, column: str) -> dict[str, int]:
    return dict(model.objects.values_list(column).annotate(Count("pk")).order_by(column))  # type: ignore[attr-defined]
