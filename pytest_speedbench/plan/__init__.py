"""What a session measures: options, settings, and the grid of cases."""
