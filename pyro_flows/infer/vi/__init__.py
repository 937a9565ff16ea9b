"""`fit_vi`: its run, its objective and its settings."""
