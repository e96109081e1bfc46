"""What makes an experiment a comparison: rules of its spec, how methods follow from each other, tuning, power."""
