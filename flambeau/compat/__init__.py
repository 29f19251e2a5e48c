"""Programs written for other frameworks, on flambeau."""
