"""Tables of trials and final runs: the CSV file of all of them, and what is asked of records."""
