"""Other tools' files: what dashboards, data frames and benchmark trackers read."""
