"""The matrix of cells: which of them are at work at once, in processes of their own."""
