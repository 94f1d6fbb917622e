"""What Stripe Tax told, in the words of the back office."""

from invoicing.core.tax import TaxKind
from invoicing.core.tax_document import sum_text
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.stripe_tax import field_named

UNREGISTERED = "nothing is collected there: Stripe knows of no registration"


def answer_words(answer: TaxAnswer) -> str:
    """Say what an answer tells in one line: Sales tax 4 % (US-NY), ...; or why it cannot."""
    if not answer.kind:
        return f"{field_named(answer.refused_field)}: {answer.refusal}"
    told = answer.told
    texts = [
        sum_text(kind=told.kind, name=one.name, rate=one.rate, jurisdiction=one.jurisdiction, inclusive=False)
        for one in told.rates
    ]
    if told.kind is TaxKind.OUTSIDE_SCOPE and not told.is_registered:
        texts.append(UNREGISTERED)
    return "; ".join(texts)
