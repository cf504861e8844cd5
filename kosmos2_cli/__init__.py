"""The command line: one table of commands in `main`, each imported only when it is used."""
