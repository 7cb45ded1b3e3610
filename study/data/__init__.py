"""The way from prices over features, labels and splits to one data set per cell."""
