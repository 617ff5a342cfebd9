"""Saved runs: the form of a record, storage, references, and which record may be compared."""
