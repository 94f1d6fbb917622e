"""The figures of dunning that are lists counted: recovery by step, ageing, money at risk, cases, mails, promises."""

from dunning.core.case_life import LIVE, state_words, states_in_sql
from dunning.core.figures import stretches
from dunning.core.notice_kinds import NoticeKind
from dunning.core.policy import Act, Step
from dunning.figures.source import Asked, Drawing, Measure, Source, Unit
from invoicing.core.life_cycle import State
from invoicing.ledger.models import JournalEntry
from invoicing.reports.aged_receivables import BUCKETS, DEFINITION
from invoicing.reports.receivables import RECEIVABLE_MOVEMENTS

BILLING_KINDS = (JournalEntry.Kind.ISSUE, JournalEntry.Kind.REVERSAL, JournalEntry.Kind.CREDIT_NOTE)
AGES = (("0 to 7 days", 7), ("8 to 14 days", 14), ("15 to 30 days", 30), ("31 to 60 days", 60), ("over 60 days", None))
_WEEK_OR_MONTH = """to_char(date_trunc(CASE WHEN %(before)s - %(start)s <= interval '182 days' THEN 'week' ELSE 'month' END,
    {moment} AT TIME ZONE 'UTC'), 'YYYY-MM-DD')"""


def _stretches(asked: Asked) -> list[str]:
    return [day.isoformat() for day in stretches(first=asked.start, last=asked.end)]


def _step_words(bar: str) -> str:
    day, act, notice = bar.split("|")
    step = Step(int(day), Act(act), NoticeKind(notice) if notice else None)
    return f"Day {step.day}: {step.words}"


def _bucket_words(bar: str) -> str:
    return next(title for key, title, _ in BUCKETS if key == bar.partition(" ")[2])


# A key begins with its place, so that bars stand in order.
_BUCKET_KEYS = [f"{place} {key}" for place, (key, _, _) in enumerate(BUCKETS)]
_STATE_KEYS = [f"{place} {state.value}" for place, state in enumerate(State)]
_AGE_KEYS = [f"{place} {title}" for place, (title, _) in enumerate(AGES)]


def _bucket_sql() -> str:
    overdue = "coalesce(%(as_of)s::date - invoice.due_date, 0)"
    cases = "".join(
        f" WHEN {overdue} <= {most} THEN '{place} {key}'"
        for place, (key, _, most) in enumerate(BUCKETS)
        if most is not None
    )
    return f"CASE{cases} ELSE '{_BUCKET_KEYS[-1]}' END"


def _age_sql(days: str) -> str:
    cases = "".join(
        f" WHEN {days} <= {most} THEN '{place} {title}'" for place, (title, most) in enumerate(AGES) if most is not None
    )
    return f"CASE{cases} ELSE '{_AGE_KEYS[-1]}' END"


def _state_sql() -> str:
    cases = "".join(f" WHEN '{state.value}' THEN '{key}'" for state, key in zip(State, _STATE_KEYS, strict=True))
    return f"""CASE coalesce((SELECT move.to_state FROM invoicing_lifecyclemove move WHERE move.customer_id = customer.id
        ORDER BY move.number DESC LIMIT 1), 'trial'){cases} END"""


def _open_items(bar: str, moment: str) -> str:
    """Return what is open of each invoice at a moment, as the aged receivables report has it."""
    return f"""
        SELECT {bar} AS bar, item.currency, customer.legal_entity_id AS entity, customer.id AS customer_id, customer.name AS customer,
               coalesce(invoice.due_date::timestamp AT TIME ZONE 'UTC', {moment}) AS happened,
               CASE WHEN invoice.id IS NULL THEN 'customer' ELSE 'invoice' END AS page, coalesce(invoice.id, customer.id) AS page_id,
               coalesce(invoice.number || ', due ' || invoice.due_date, 'to the account') AS words, item.amount, NULL::numeric AS paid,
               CASE WHEN invoice.due_date < %(as_of)s::date THEN 'overdue' ELSE 'open' END AS mark
          FROM (SELECT customer_id, invoice_id, currency, sum(amount) AS amount FROM ({RECEIVABLE_MOVEMENTS}) movement
                 WHERE booked_at < {moment} GROUP BY customer_id, invoice_id, currency HAVING sum(amount) <> 0) item
          JOIN invoicing_customer customer ON customer.id = item.customer_id
          LEFT JOIN invoicing_invoice invoice ON invoice.id = item.invoice_id
    """


RECOVERY = Source(
    name="recovery",
    title="How much is paid after which step?",
    definition=(
        "The cohort: every step that was taken in the span (skipped ones are left out), with the invoices and the amount that were late then, as the "
        "step has kept them. Paid is what was received for those invoices from the moment of the step until the next step of the case was taken, the "
        "case was closed, or now; of each invoice at most what was late of it. Settled counts the cases that were settled before another step was "
        "taken. What customers paid before a step is no part of it, and money that a bank took back later still is. Young steps have had less time."
    ),
    empty="No step was taken in this span. As soon as somebody is late and a step of a policy is taken, it stands here.",
    bar="Step",
    statement="""
        SELECT to_char(step.day, 'FM000') || '|' || step.act || '|' || step.notice AS bar, step.currency, customer.legal_entity_id AS entity,
               customer.id AS customer_id, customer.name AS customer, step.done_at AS happened, 'case'::text AS page, step.case_id AS page_id,
               'step ' || step.number AS words, step.amount, recovered.amount AS paid,
               CASE WHEN step.next_at IS NULL AND step.state = 'settled' THEN 'settled' ELSE 'not settled' END AS mark
          FROM (SELECT taken.*, dunning.customer_id, dunning.state,
                       lead(taken.done_at) OVER (PARTITION BY taken.case_id ORDER BY taken.number) AS next_at,
                       CASE WHEN dunning.state IN ({closed}) THEN dunning.state_since END AS closed_at
                  FROM dunning_casestep taken JOIN dunning_dunningcase dunning ON dunning.id = taken.case_id
                 WHERE taken.outcome = 'done') step
          JOIN invoicing_customer customer ON customer.id = step.customer_id
         CROSS JOIN LATERAL (
               SELECT coalesce(sum(least((late->>'amount')::numeric, money.received)), 0) AS amount
                 FROM jsonb_array_elements(step.figures) late
                 JOIN invoicing_invoice invoice ON invoice.number = late->>'invoice'
                CROSS JOIN LATERAL (
                      SELECT coalesce(sum(payment.amount), 0) AS received FROM invoicing_payment payment
                       WHERE payment.invoice_id = invoice.id AND payment.received_at >= step.done_at
                         AND payment.received_at < coalesce(step.next_at, 'infinity')
                         AND payment.received_at <= coalesce(step.closed_at, 'infinity')) money) recovered
         WHERE step.done_at >= %(start)s AND step.done_at < %(before)s
    """.format(closed="'settled', 'written_off', 'superseded'"),
    measures=(
        Measure("taken", "Taken"),
        Measure("settled", "Settled", value="count(*) FILTER (WHERE mark = 'settled')", which="mark = 'settled'"),
        Measure("settled_share", "Of the cases", Unit.PERCENT, of=("settled", "taken"), tone=2),
        Measure("late", "Late", Unit.MONEY, value="sum(amount)"),
        Measure("paid", "Paid", Unit.MONEY, value="sum(paid)", which="paid > 0"),
        Measure("paid_share", "Of the money", Unit.PERCENT, of=("paid", "late"), tone=1),
    ),
    title_of=_step_words,
)
AGEING = Source(
    name="ageing",
    title="For how long is it overdue?",
    definition=f"{DEFINITION} The same as the report of aged receivables says, as of the last day of the span or today.",
    empty="Nobody owed anything. An issued invoice stands here until it is paid.",
    bar="Overdue",
    statement=_open_items(_bucket_sql(), "%(as_of_before)s"),
    measures=(
        Measure("invoices", "Invoices"),
        Measure("open", "Open", Unit.MONEY, value="sum(amount)", tone=1),
    ),
    title_of=_bucket_words,
    fixed=lambda _: _BUCKET_KEYS,
)
RISK = Source(
    name="risk",
    title="How much is open with customers who are in trouble?",
    definition=(
        "What is open now, by where the customer stands in its life now. Overdue is what of it is past its due date. Recurring is the monthly recurring "
        "revenue of those of them who have an open dunning case, by the definition of the report on recurring revenue: what would be lost every "
        "month if they went."
    ),
    empty="Nothing is open. An issued invoice stands here until it is paid.",
    bar="Customers who are",
    statement=_open_items(_state_sql(), "%(at)s"),
    measures=(
        Measure("customers", "Customers", value="count(DISTINCT customer_id)"),
        Measure("open", "Open", Unit.MONEY, value="sum(amount)", tone=1),
        Measure(
            "overdue",
            "Overdue",
            Unit.MONEY,
            value="coalesce(sum(amount) FILTER (WHERE mark = 'overdue'), 0)",
            which="mark = 'overdue'",
            tone=3,
        ),
    ),
    title_of=lambda bar: state_words(bar.partition(" ")[2]),
    fixed=lambda _: _STATE_KEYS,
)
# As a case is now, and its place in the palette: a state has the hue of its pill, those of one hue differ in depth.
_NOW = {"open": 1, "promised": 7, "held": 4, "objected": 6, "exhausted": 8, "handed_over": 9}
CASES = Source(
    name="cases",
    title="Which cases are open, and for how long?",
    definition=(
        "The cases that are not closed now, by the days since the day from which their days are counted. Held and promised are open "
        "cases whose steps wait; objected to are cases of which a part waits, and what nobody objects to is chased. Each case is counted once, a hold before a promise before an objection."
    ),
    empty="No case is open. Whoever is late with an invoice, or whose charge was refused, has one.",
    bar="Late for",
    statement=f"""
        SELECT {_age_sql("%(as_of)s::date - dunning.anchor_day")} AS bar, customer.currency, customer.legal_entity_id AS entity,
               customer.id AS customer_id, customer.name AS customer, dunning.opened_at AS happened, 'case'::text AS page,
               dunning.id AS page_id, 'counted from ' || dunning.anchor_day AS words, NULL::numeric AS amount, NULL::numeric AS paid,
               CASE WHEN dunning.state <> 'open' THEN dunning.state
                    WHEN EXISTS (SELECT FROM dunning_hold hold WHERE hold.customer_id = customer.id AND hold.ended_at IS NULL
                         AND hold.starts_at <= %(at)s AND (hold.until IS NULL OR hold.until > %(at)s)) THEN 'held'
                    WHEN EXISTS (SELECT FROM dunning_promise promise WHERE promise.case_id = dunning.id AND promise.ended_at IS NULL)
                         THEN 'promised'
                    WHEN EXISTS (SELECT FROM invoicing_objection objection JOIN invoicing_invoice invoice ON invoice.id = objection.invoice_id
                         WHERE invoice.customer_id = customer.id AND objection.ended_at IS NULL) THEN 'objected'
                    ELSE 'open' END AS mark
          FROM dunning_dunningcase dunning JOIN invoicing_customer customer ON customer.id = dunning.customer_id
         WHERE dunning.state IN ({states_in_sql(LIVE)})
    """,
    measures=(
        Measure("cases", "Cases"),
        *(
            Measure(
                mark,
                {"open": "Chased", "objected": "Objected to"}.get(mark, state_words(mark).capitalize()),
                value=f"count(*) FILTER (WHERE mark = '{mark}')",
                which=f"mark = '{mark}'",
                tone=tone,
            )
            for mark, tone in _NOW.items()
        ),
    ),
    title_of=lambda bar: bar.partition(" ")[2],
    fixed=lambda _: _AGE_KEYS,
    is_by_currency=False,
    drawn_as=Drawing.PARTS,
)
MAILS = Source(
    name="mails",
    title="Do our mails arrive?",
    definition=(
        "The notices that were handed to the mail server in the span, or came to their end without it. Bounced and unwanted are those of the sent ones "
        "of which the mail provider told so, whenever it did; undeliverable were never taken. Not needed: paid, held or promised before the mail went."
    ),
    empty="No notice was sent in this span.",
    bar="From",
    statement=f"""
        SELECT {_WEEK_OR_MONTH.format(moment="coalesce(notice.sending_at, notice.settled_at)")} AS bar, customer.currency,
               customer.legal_entity_id AS entity, customer.id AS customer_id, customer.name AS customer,
               coalesce(notice.sending_at, notice.settled_at) AS happened, 'notice'::text AS page, notice.id AS page_id,
               replace(notice.kind, '_', ' ') || coalesce(' to ' || nullif(notice.to_address, ''), '') AS words,
               NULL::numeric AS amount, NULL::numeric AS paid,
               CASE WHEN notice.state <> 'sent' THEN notice.state
                    WHEN EXISTS (SELECT FROM dunning_mailevent event WHERE event.notice_id = notice.id AND event.kind = 'complaint') THEN 'unwanted'
                    WHEN EXISTS (SELECT FROM dunning_mailevent event WHERE event.notice_id = notice.id
                         AND event.kind IN ('bounce', 'soft_bounce')) THEN 'bounced'
                    ELSE 'sent' END AS mark
          FROM dunning_notice notice JOIN invoicing_customer customer ON customer.id = notice.customer_id
         WHERE notice.state IN ('sent', 'undeliverable', 'not_needed')
           AND coalesce(notice.sending_at, notice.settled_at) >= %(start)s AND coalesce(notice.sending_at, notice.settled_at) < %(before)s
    """,
    measures=(
        Measure(
            "sent",
            "Sent",
            value="count(*) FILTER (WHERE mark IN ('sent', 'bounced', 'unwanted'))",
            which="mark IN ('sent', 'bounced', 'unwanted')",
            tone=2,
        ),
        Measure(
            "bounced", "Bounced", value="count(*) FILTER (WHERE mark = 'bounced')", which="mark = 'bounced'", tone=4
        ),
        Measure(
            "unwanted",
            "Called unwanted",
            value="count(*) FILTER (WHERE mark = 'unwanted')",
            which="mark = 'unwanted'",
            tone=6,
        ),
        Measure("bounced_share", "Of the sent", Unit.PERCENT, of=("bounced", "sent")),
        Measure(
            "undeliverable",
            "Undeliverable",
            value="count(*) FILTER (WHERE mark = 'undeliverable')",
            which="mark = 'undeliverable'",
            tone=3,
        ),
        Measure(
            "not_needed",
            "Not needed",
            value="count(*) FILTER (WHERE mark = 'not_needed')",
            which="mark = 'not_needed'",
        ),
    ),
    title_of=lambda bar: bar,
    fixed=_stretches,
    is_by_currency=False,
    drawn_as=Drawing.TIME,
)


def _promise_measures() -> tuple[Measure, ...]:
    tones = {"kept": 2, "broken": 3, "withdrawn": 4}
    counts = (
        Measure(
            mark,
            mark.capitalize(),
            value=f"count(*) FILTER (WHERE mark = '{mark}')",
            which=f"mark = '{mark}'",
            tone=tone,
        )
        for mark, tone in tones.items()
    )
    sums = (
        Measure(
            f"{mark}_money",
            f"{mark.capitalize()}, promised",
            Unit.MONEY,
            value=f"coalesce(sum(amount) FILTER (WHERE mark = '{mark}'), 0)",
            which=f"mark = '{mark}'",
        )
        for mark in ("kept", "broken")
    )
    return (
        *counts,
        Measure("ended", "Ended"),
        Measure("kept_share", "Kept of them", Unit.PERCENT, of=("kept", "ended")),
        *sums,
    )


PROMISES = Source(
    name="promises",
    title="Are promises kept?",
    definition=(
        "The promises to pay that came to their end in the span: kept where all that was promised was paid, broken where an instalment did not come, "
        "withdrawn by somebody, or because something else is late. The money is what was promised, all instalments together. Promises "
        "that are open still stand among the cases."
    ),
    empty="No promise to pay came to its end in this span.",
    bar="From",
    statement=f"""
        SELECT {_WEEK_OR_MONTH.format(moment="promise.ended_at")} AS bar, customer.currency, customer.legal_entity_id AS entity,
               customer.id AS customer_id, customer.name AS customer, promise.ended_at AS happened, 'case'::text AS page,
               promise.case_id AS page_id, promise.outcome || ': ' || promise.ended_because AS words,
               (SELECT sum(one.amount) FROM dunning_instalment one WHERE one.promise_id = promise.id) AS amount, NULL::numeric AS paid,
               promise.outcome AS mark
          FROM dunning_promise promise
          JOIN dunning_dunningcase dunning ON dunning.id = promise.case_id
          JOIN invoicing_customer customer ON customer.id = dunning.customer_id
         WHERE promise.ended_at >= %(start)s AND promise.ended_at < %(before)s
    """,
    measures=_promise_measures(),
    title_of=lambda bar: bar,
    fixed=_stretches,
    drawn_as=Drawing.TIME,
)
# What days sales outstanding call billed: no figure of its own, but a list behind its numbers.
BILLED = Source(
    name="billed",
    title="What was billed?",
    definition="What was issued in the span, less what became void or was credited off it, tax included, when it was booked.",
    empty="Nothing was billed in this span.",
    bar="Kind",
    statement=f"""
        SELECT movement.kind AS bar, movement.currency, customer.legal_entity_id AS entity, customer.id AS customer_id,
               customer.name AS customer, movement.booked_at AS happened, 'invoice'::text AS page, movement.invoice_id AS page_id,
               replace(movement.kind, '_', ' ') || ' ' || movement.reference AS words, movement.amount, NULL::numeric AS paid, '' AS mark
          FROM ({RECEIVABLE_MOVEMENTS}) movement JOIN invoicing_customer customer ON customer.id = movement.customer_id
         WHERE movement.kind IN ({", ".join(f"'{kind.value}'" for kind in BILLING_KINDS)})
           AND movement.booked_at >= %(start)s AND movement.booked_at < %(before)s
    """,
    measures=(Measure("billed", "Billed", Unit.MONEY, value="sum(amount)"),),
    title_of=state_words,
)
SOURCES = {source.name: source for source in (RECOVERY, AGEING, RISK, CASES, MAILS, PROMISES, BILLED)}
