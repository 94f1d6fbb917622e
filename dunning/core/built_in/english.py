"""The built-in templates in English."""

from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words

ENGLISH_WORDS = {
    NoticeKind.PAYMENT_FAILED: Words(
        subject="Your payment of {total} did not go through",
        button="Pay {total}",
        body="""\
Please pay {total} with another payment method, or try the same one again.

{payment_link}

Hello {customer},

the last charge did not go through. That happens: a card expires, or a bank says no without giving a reason. Your service goes on as usual.

{invoices}

So that it stays so, please pay before {acts_on}.

If you have paid in the meantime, there is nothing you need to do.

Kind regards
{seller}""",
    ),
    NoticeKind.ACTION_REQUIRED: Words(
        subject="Please confirm your payment of {total}",
        button="Confirm the payment",
        body="""\
Please confirm the payment of {total}: your bank asks for it (3-D Secure).

{payment_link}

Hello {customer},

your bank lets the payment pass as soon as you have confirmed it on the page behind the button, usually in the bank's app. Nothing has been charged yet.

{invoices}

Please confirm it before {acts_on}, so that your service goes on as usual.

If you have confirmed it in the meantime, there is nothing you need to do.

Kind regards
{seller}""",
    ),
    NoticeKind.REMINDER: Words(
        subject="Reminder: {total} is open, due {due_date}",
        button="Pay {total}",
        body="""\
Please pay {total}, due on {due_date}.

{payment_link}

Hello {customer},

perhaps our invoice has slipped through. This is what is open:

{invoices}

Please pay before {acts_on}; until then your service goes on as usual.

If your payment is on its way, there is nothing you need to do. If something on the invoice is not right, tell us and we look into it.

Kind regards
{seller}""",
    ),
    NoticeKind.WARNING: Words(
        subject="{total} is overdue: please pay so that your service goes on",
        button="Pay {total}",
        body="""\
Please pay {total}, so that your service goes on without a break.

{payment_link}

Hello {customer},

we have not received a payment for this yet:

{invoices}

Interest and fees for late payment come to {charges} so far; we invoice them separately.

If it is still open on {acts_on}, we have to limit or suspend your service on that day.

If your payment is on its way, or if you need more time, just reply to this e-mail: we find a way.

Kind regards
{seller}""",
    ),
    NoticeKind.RESTRICTED: Words(
        subject="Your service is limited until {total} is paid",
        button="Pay {total}",
        body="""\
Please pay {total}; your full service is back as soon as the payment has arrived.

{payment_link}

Hello {customer},

because this is still open, your service is limited from now on:

{invoices}

If it is still open on {acts_on}, we have to suspend your service.

If your payment is on its way, or if you need more time, just reply to this e-mail: we find a way.

Kind regards
{seller}""",
    ),
    NoticeKind.SUSPENDED: Words(
        subject="Your service is suspended until {total} is paid",
        button="Pay {total}",
        body="""\
Please pay {total}; your service is back as soon as the payment has arrived.

{payment_link}

Hello {customer},

because this is still open, your service is suspended from now on. Nothing of yours is deleted.

{invoices}

If it is still open on {acts_on}, the next step follows, about which we will write to you.

If your payment is on its way, or if you need more time, just reply to this e-mail: we find a way.

Kind regards
{seller}""",
    ),
    NoticeKind.FINAL_NOTICE: Words(
        subject="Last notice before your account is closed: {total} is open",
        button="Pay {total}",
        body="""\
Please pay {total}, so that your account stays open.

{payment_link}

Hello {customer},

this is the last notice that we send about these invoices:

{invoices}

Interest and fees for late payment come to {charges} so far; we invoice them separately.

If they are still open on {acts_on}, we close your account on that day.

If you cannot pay all of it at once, please reply to this e-mail soon: we find a way.

Kind regards
{seller}""",
    ),
    NoticeKind.CLOSED: Words(
        subject="Your account is closed; {total} remains open",
        button="Pay {total}",
        body="""\
Please pay {total}, which remains open although your account is closed.

{payment_link}

Hello {customer},

your account was closed because these invoices are open:

{invoices}

If you want to open it again, or to agree on how to pay, reply to this e-mail.

Kind regards
{seller}""",
    ),
    NoticeKind.COLLECTION_NOTICE: Words(
        subject="Last notice before others collect {total}",
        button="Pay {total}",
        body="""\
Please pay {total}, so that nobody else has to ask you for it.

{payment_link}

Hello {customer},

we have written to you about these invoices, and they are still open:

{invoices}

Interest and fees for late payment come to {charges} so far; we invoice them separately.

If they are still open on {acts_on}, we hand the claim over to a collection agency or a lawyer on that day. What that costs may be claimed from you, too.

If something is not right, or if you want to pay in instalments, please reply to this e-mail before that day: we look into it.

Kind regards
{seller}""",
    ),
    NoticeKind.RESTORED: Words(
        subject="Thank you: {total} is settled, and your service is back",
        button="See your invoices",
        body="""\
There is nothing you need to do: {total} is settled.

{payment_link}

Hello {customer},

thank you. Your full service is back, and nothing is open of these invoices any more:

{invoices}

Kind regards
{seller}""",
    ),
    NoticeKind.PROMISE_BROKEN: Words(
        subject="We have not received the payment that we agreed on: {total} is open",
        button="Pay {total}",
        body="""\
Please pay {total}, or tell us what has come in between.

{payment_link}

Hello {customer},

the day that we agreed on is over, and we have not received the payment yet:

{invoices}

If it is still open on {acts_on}, the next step follows.

If your payment is on its way, there is nothing you need to do.

Kind regards
{seller}""",
    ),
    NoticeKind.INSTALMENT_DUE: Words(
        subject="Your next instalment is due; {total} is open in all",
        button="Pay now",
        body="""\
Please pay the instalment of {instalment}, as we have agreed.

{payment_link}

Hello {customer},

thank you for keeping to our agreement. In all {total} is open; this is what it is about:

{invoices}

The instalment is due on {acts_on}.

If your payment is on its way, there is nothing you need to do.

Kind regards
{seller}""",
    ),
}
