"""The cells of a sweep: which of them are at work at once, each in a process of its own."""
