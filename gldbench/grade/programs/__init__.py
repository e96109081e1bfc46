"""Answers that are programs: taken out of an output, called with a benchmark's inputs, their outputs compared."""
