"""The templates that come with the product: every kind in English and German, so that a fresh installation can send.

They say what and how much, then what to do, then what follows; they never blame. A house's own approved version takes the place of one.
"""

from collections.abc import Mapping

from dunning.core.built_in.english import ENGLISH_WORDS
from dunning.core.built_in.german import GERMAN_WORDS
from dunning.core.notice_kinds import NoticeKind
from dunning.core.wording import Words
from invoicing.core.languages import ENGLISH, GERMAN

BUILT_IN: Mapping[str, Mapping[NoticeKind, Words]] = {ENGLISH.code: ENGLISH_WORDS, GERMAN.code: GERMAN_WORDS}
