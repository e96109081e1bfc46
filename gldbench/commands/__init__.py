"""The commands: each reads its arguments, calls the library and prints the result. One file for each verb or group."""
