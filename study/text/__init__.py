"""Text that people write and read: numbers, sizes in bytes, tables."""
