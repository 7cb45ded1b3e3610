"""What the commands print: headers, tables and live lines."""
