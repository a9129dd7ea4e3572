"""Other projects' suites, run by tests in processes of their own: they leave warnings behind."""
