"""Files of panels: read in any usual shape, and kept by an import."""
