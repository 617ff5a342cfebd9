"""Library engines in a child process: parent and child side, streaming, lifetime."""
