"""The command `kosmos2`: a table of subcommands, each imported only when called."""
