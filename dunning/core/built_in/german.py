"""The built-in templates in German."""

from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words

GERMAN_WORDS = {
    NoticeKind.PAYMENT_FAILED: Words(
        subject="Ihre Zahlung über {total} ist nicht angekommen",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total} mit einem anderen Zahlungsmittel, oder versuchen Sie es mit demselben noch einmal.

{payment_link}

Guten Tag {customer},

die letzte Abbuchung war nicht möglich. Das kommt vor: Eine Karte läuft ab, oder eine Bank lehnt ohne Angabe von Gründen ab. Ihr Dienst läuft wie gewohnt weiter.

{invoices}

Damit das so bleibt, bezahlen Sie bitte vor dem {acts_on}.

Falls Sie inzwischen bezahlt haben, müssen Sie nichts weiter tun.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.ACTION_REQUIRED: Words(
        subject="Bitte bestätigen Sie Ihre Zahlung über {total}",
        button="Zahlung bestätigen",
        body="""\
Bitte bestätigen Sie die Zahlung über {total}: Ihre Bank verlangt es (3-D Secure).

{payment_link}

Guten Tag {customer},

Ihre Bank führt die Zahlung aus, sobald Sie sie auf der Seite hinter der Schaltfläche bestätigt haben, meist in der App der Bank. Bisher wurde nichts abgebucht.

{invoices}

Bitte bestätigen Sie die Zahlung vor dem {acts_on}, damit Ihr Dienst wie gewohnt weiterläuft.

Falls Sie sie inzwischen bestätigt haben, müssen Sie nichts weiter tun.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.REMINDER: Words(
        subject="Erinnerung: {total} sind offen, fällig am {due_date}",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}, fällig am {due_date}.

{payment_link}

Guten Tag {customer},

vielleicht ist unsere Rechnung untergegangen. Offen ist:

{invoices}

Bitte bezahlen Sie vor dem {acts_on}; bis dahin läuft Ihr Dienst wie gewohnt weiter.

Falls Ihre Zahlung unterwegs ist, müssen Sie nichts weiter tun. Falls etwas an der Rechnung nicht stimmt, sagen Sie es uns, und wir sehen nach.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.WARNING: Words(
        subject="{total} sind überfällig: bitte bezahlen Sie, damit Ihr Dienst weiterläuft",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}, damit Ihr Dienst ohne Unterbrechung weiterläuft.

{payment_link}

Guten Tag {customer},

hierfür haben wir noch keine Zahlung erhalten:

{invoices}

Verzugszinsen und Gebühren betragen bisher {charges}; wir berechnen sie gesondert.

Ist der Betrag am {acts_on} noch offen, müssen wir Ihren Dienst an diesem Tag einschränken oder aussetzen.

Falls Ihre Zahlung unterwegs ist oder Sie mehr Zeit brauchen, antworten Sie einfach auf diese E-Mail: Wir finden einen Weg.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.RESTRICTED: Words(
        subject="Ihr Dienst ist eingeschränkt, bis {total} bezahlt sind",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}; Ihr Dienst steht wieder ganz zur Verfügung, sobald die Zahlung eingegangen ist.

{payment_link}

Guten Tag {customer},

weil Folgendes noch offen ist, ist Ihr Dienst von jetzt an eingeschränkt:

{invoices}

Ist der Betrag am {acts_on} noch offen, müssen wir Ihren Dienst aussetzen.

Falls Ihre Zahlung unterwegs ist oder Sie mehr Zeit brauchen, antworten Sie einfach auf diese E-Mail: Wir finden einen Weg.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.SUSPENDED: Words(
        subject="Ihr Dienst ist ausgesetzt, bis {total} bezahlt sind",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}; Ihr Dienst steht wieder zur Verfügung, sobald die Zahlung eingegangen ist.

{payment_link}

Guten Tag {customer},

weil Folgendes noch offen ist, ist Ihr Dienst von jetzt an ausgesetzt. Nichts von Ihnen wird gelöscht.

{invoices}

Ist der Betrag am {acts_on} noch offen, folgt der nächste Schritt, über den wir Ihnen schreiben werden.

Falls Ihre Zahlung unterwegs ist oder Sie mehr Zeit brauchen, antworten Sie einfach auf diese E-Mail: Wir finden einen Weg.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.FINAL_NOTICE: Words(
        subject="Letzte Nachricht vor der Schließung Ihres Kontos: {total} sind offen",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}, damit Ihr Konto bestehen bleibt.

{payment_link}

Guten Tag {customer},

dies ist die letzte Nachricht, die wir Ihnen zu diesen Rechnungen senden:

{invoices}

Verzugszinsen und Gebühren betragen bisher {charges}; wir berechnen sie gesondert.

Sind sie am {acts_on} noch offen, schließen wir Ihr Konto an diesem Tag.

Falls Sie nicht alles auf einmal bezahlen können, antworten Sie bitte bald auf diese E-Mail: Wir finden einen Weg.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.CLOSED: Words(
        subject="Ihr Konto ist geschlossen; {total} bleiben offen",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}; der Betrag bleibt offen, obwohl Ihr Konto geschlossen ist.

{payment_link}

Guten Tag {customer},

Ihr Konto wurde geschlossen, weil diese Rechnungen offen sind:

{invoices}

Falls Sie es wieder öffnen oder eine Zahlung vereinbaren möchten, antworten Sie auf diese E-Mail.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.COLLECTION_NOTICE: Words(
        subject="Letzte Nachricht, bevor andere {total} einziehen",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}, damit niemand sonst Sie darum bitten muss.

{payment_link}

Guten Tag {customer},

wir haben Ihnen zu diesen Rechnungen geschrieben, und sie sind noch offen:

{invoices}

Verzugszinsen und Gebühren betragen bisher {charges}; wir berechnen sie gesondert.

Sind sie am {acts_on} noch offen, übergeben wir die Forderung an diesem Tag einem Inkassounternehmen oder einem Anwalt. Was das kostet, kann ebenfalls von Ihnen verlangt werden.

Falls etwas nicht stimmt oder Sie in Raten zahlen möchten, antworten Sie bitte vorher auf diese E-Mail: Wir sehen es uns an.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.RESTORED: Words(
        subject="Vielen Dank: {total} sind beglichen, Ihr Dienst ist wieder da",
        button="Rechnungen ansehen",
        body="""\
Sie müssen nichts weiter tun: {total} sind beglichen.

{payment_link}

Guten Tag {customer},

vielen Dank. Ihr Dienst steht wieder ganz zur Verfügung, und von diesen Rechnungen ist nichts mehr offen:

{invoices}

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.PROMISE_BROKEN: Words(
        subject="Die vereinbarte Zahlung ist noch nicht eingegangen: {total} sind offen",
        button="{total} bezahlen",
        body="""\
Bitte bezahlen Sie {total}, oder sagen Sie uns, was dazwischengekommen ist.

{payment_link}

Guten Tag {customer},

der vereinbarte Tag ist vorüber, und wir haben die Zahlung noch nicht erhalten:

{invoices}

Ist der Betrag am {acts_on} noch offen, folgt der nächste Schritt.

Falls Ihre Zahlung unterwegs ist, müssen Sie nichts weiter tun.

Mit freundlichen Grüßen
{seller}""",
    ),
    NoticeKind.INSTALMENT_DUE: Words(
        subject="Ihre nächste Rate ist fällig; insgesamt sind {total} offen",
        button="Jetzt bezahlen",
        body="""\
Bitte bezahlen Sie die Rate von {instalment}, wie wir es vereinbart haben.

{payment_link}

Guten Tag {customer},

danke, dass Sie sich an unsere Vereinbarung halten. Insgesamt sind {total} offen; es geht um:

{invoices}

Die Rate ist am {acts_on} fällig.

Falls Ihre Zahlung unterwegs ist, müssen Sie nichts weiter tun.

Mit freundlichen Grüßen
{seller}""",
    ),
}
