"""The questions of a panel's study, each answered in a section of its report."""
