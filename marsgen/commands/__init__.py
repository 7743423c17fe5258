"""Commands: one module per command of `marsgen`, each with its config."""
