"""What each verb of the command line does; :mod:`tsirius.cli` parses and prints."""
