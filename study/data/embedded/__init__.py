"""Series that lie inside installed packages, read from their files without an import."""
