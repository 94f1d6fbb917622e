"""The page of a usage event as the one who bills sees it: the invoice line that holds it, or why none does."""

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing_site.display.figures import link, money
from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError
from invoicing.core.phases import PhaseKind
from invoicing.customers.models import Customer
from invoicing.invoices.models import CorrectionDecision, InvoiceLine, InvoiceStatus, LineKind
from invoicing.subscriptions.models import Subscription
from invoicing.subscriptions.queries import phases_in_force
from invoicing.workflows.correction_effect import money_of_correcting
from invoicing.workflows.unbilled_usage import UnbilledReason
from metering.admin import UsageEventAdmin
from metering.models import EventCancellation, Meter, UsageEvent

admin.site.unregister(UsageEvent)


@admin.register(UsageEvent)
class BilledEventAdmin(UsageEventAdmin):
    """Events as they were accepted, with what became of each."""

    def billed_on(self, event: UsageEvent) -> SafeString:
        """Link to the lines that hold the event, or say why none does."""
        meters = list(Meter.objects.filter(event_type=event.event_type).order_by("key"))
        lines = _lines(event, [meter.key for meter in meters])
        if not lines:
            return format_html("<p>{}</p>", _why_on_none(event, meters))
        return format_html_join("", "<p>{}</p>", ((_told(line, event),) for line in lines))

    def money_effect(self, event: UsageEvent, correct: Callable[[], EventCancellation]) -> str | SafeString:
        """Say what a correction of the event would change about issued lines, drafts and running periods."""
        try:
            effects = money_of_correcting(customer_id=event.customer_id, correct=correct, at=now())
        except BillingError as problem:
            return format_html('<span class="bo-line">Money: cannot be previewed: {}</span>', problem.message)
        if not effects:
            return format_html('<span class="bo-line">{}</span>', "Money: no amount of an invoice changes.")
        return format_html_join(
            "",
            '<span class="bo-line">{}, {}: {} → {}, effect {}{}</span>',
            (
                (
                    one.place.capitalize(),
                    one.what,
                    money(one.before),
                    money(one.after),
                    money(one.effect),
                    f". {one.note}" if one.note else "",
                )
                for one in effects
            ),
        )


def _lines(event: UsageEvent, meter_keys: Sequence[str]) -> list[InvoiceLine]:
    """Return the lines of the event's customer, meters and time, whether or not they knew it."""
    return list(
        InvoiceLine.objects.filter(
            subscription__customer__key=event.customer_id,
            meter_key__in=meter_keys,
            kind=LineKind.CHARGE,
            service_start__lte=event.timestamp,
            service_end__gt=event.timestamp,
        )
        .exclude(invoice__status=InvoiceStatus.VOID)
        .select_related("invoice")
        .prefetch_related("corrections__lines__invoice")
        .order_by("invoice_id", "position")
    )


def _told(line: InvoiceLine, event: UsageEvent) -> SafeString:
    proof = reverse("admin:invoicing_invoice_proof", args=[line.invoice_id]) + f"?line={line.position}#events"
    door = link(proof, f"{line.invoice}, line {line.position}: {line.description}")
    if event.pk <= line.known_through:
        return door
    if line.invoice.status == InvoiceStatus.DRAFT:
        return format_html("Not yet on {}: it came after the draft was made; refreshing the draft takes it in.", door)
    return format_html("Not on {}: {}. {}", door, UnbilledReason.LATE.value, _settled(line, event))


def _settled(line: InvoiceLine, event: UsageEvent) -> SafeString:
    """Say what was decided about a late event: the correction that learnt of it, and the invoices that carry it."""
    links = (one for one in line.corrections.all() if one.known_from < event.pk <= one.known_through)
    correction = next(links, None)
    if correction is None:
        desk = reverse("admin:invoicing_late_usage_desk") + f"?customer={event.customer_id}"
        return format_html("Nobody has settled it yet: {}.", link(desk, "late-event desk"))
    page = link(reverse("admin:invoicing_usagecorrection_change", args=[correction.pk]), "correction")
    if correction.decision == CorrectionDecision.ABSORBED:
        return format_html("Its {} was absorbed.", page)
    carried = [one.invoice for one in correction.lines.all() if one.invoice.status != InvoiceStatus.VOID]
    if not carried:
        return format_html("Its {} waits for the next invoice.", page)
    doors = ((link(reverse("admin:invoicing_invoice_change", args=[invoice.pk]), invoice),) for invoice in carried)
    return format_html("Its {} is on {}.", page, format_html_join(", ", "{}", doors))


def _why_on_none(event: UsageEvent, meters: Sequence[Meter]) -> str:
    if not meters:
        return "On no invoice: no meter counts this event type."
    customer = Customer.objects.filter(key=event.customer_id).first()
    if customer is None:
        return f"On no invoice: {UnbilledReason.UNKNOWN_CUSTOMER.value}."
    in_force: Any = Subscription.objects.filter(
        Q(ended_at__isnull=True) | Q(ended_at__gt=event.timestamp), customer=customer, started_at__lte=event.timestamp
    )
    if not in_force.exists():
        return f"On no invoice: {UnbilledReason.NO_SUBSCRIPTION.value}."
    phases = phases_in_force(at=event.timestamp).filter(
        subscription__in=in_force,
        plan_version__prices__meter__in=meters,
        plan_version__prices__currency=customer.currency,
    )
    kinds = set(phases.values_list("kind", flat=True))
    if not kinds:
        return f"On no invoice: {UnbilledReason.NOT_PRICED.value}."
    if PhaseKind.ACTIVE.value not in kinds:
        reason = UnbilledReason.TRIAL if PhaseKind.TRIAL.value in kinds else UnbilledReason.PAUSED
        return f"On no invoice: {reason.value}."
    return "On no invoice yet: the billing run after the end of its period takes it in."
