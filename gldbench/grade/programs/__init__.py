"""Answers that are programs: finds them in outputs, calls them with a benchmark's inputs, compares what they return."""
