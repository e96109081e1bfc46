"""Makes training data: sampling, decontamination against benchmarks, and a filter that runs code (`prepare`)."""
