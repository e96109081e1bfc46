"""Tables of papers: a table's published values beside what its models score here.

`definition` reads the YAML, `estimate` says what a run costs, `measure` runs the models, `cells` puts published and
measured values together, `write` makes the report. docs/tables.md shows how to add a table.
"""
