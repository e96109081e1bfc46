"""What a fusion needs before it starts: parameters, tokens, FLOPs, memory, disk and hours; and what it needed after."""
