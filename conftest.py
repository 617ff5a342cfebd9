"""Nothing to configure here: the plugin is installed, and tests/ has its own conftest."""
