"""`KINDS`: all kinds of trials by name."""

from tests.campaign import cli_fuzz, crowd, damage, disk, fuzz, hostile, kills, memory

KINDS = {
    **kills.KINDS,
    **damage.KINDS,
    **fuzz.KINDS,
    **cli_fuzz.KINDS,
    **hostile.KINDS,
    **crowd.KINDS,
    **disk.KINDS,
    **memory.KINDS,
}
