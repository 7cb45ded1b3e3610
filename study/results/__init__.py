"""Records: their types, their one writer and their one reader."""
