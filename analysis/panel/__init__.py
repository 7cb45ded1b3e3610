"""Report of a study of panels: how well its models rank the assets of a day."""
