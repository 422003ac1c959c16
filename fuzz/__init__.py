"""Fuzzing: one harness for each place where bytes of others come in, and what must hold whatever they are."""
