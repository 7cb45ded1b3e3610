"""What is searched: the file of a search space, its dimensions, and the cells it stands for."""
