"""`gldbench selftest graders`: outputs whose score is known, fed to every grader."""
