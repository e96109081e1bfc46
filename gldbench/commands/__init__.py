"""The verbs of the command line: arguments in, library call, output out. One file for each verb or group."""
