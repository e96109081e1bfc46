"""`KINDS`: all kinds of trials by name."""

from tests.campaign import kills

KINDS = {**kills.KINDS}
