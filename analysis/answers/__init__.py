"""The questions of a study, each answered in a section of its report."""
