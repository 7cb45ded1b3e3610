"""Files of daily rows, whoever wrote them: columns, days and numbers, or why they are refused."""
