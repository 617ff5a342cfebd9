"""Library engines in a child process: parent side, child side, streaming, lifetime."""
