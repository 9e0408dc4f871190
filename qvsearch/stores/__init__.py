"""Where vectors are kept and searched; a store knows rows by number, nothing of files or media."""
