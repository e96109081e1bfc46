"""The grader "lm_eval": stored responses through lm-eval's own filters and metrics."""
