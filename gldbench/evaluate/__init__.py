"""Evaluates: `evaluate` (generates and grades), `score` (grades a file of responses), `world` (the embedded world)."""
