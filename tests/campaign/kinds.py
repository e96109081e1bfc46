"""`KINDS`: all kinds of trials by name."""

from tests.campaign import fuzz, kills

KINDS = {**kills.KINDS, **fuzz.KINDS}
