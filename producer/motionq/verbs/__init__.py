"""What the job verbs of the command line do. `cli.py` and `cli_acting.py` declare them and call in here."""
