"""`gldbench selftest graders`: gives every grader outputs with known scores, and compares."""
