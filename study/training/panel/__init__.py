"""The samples of a panel: days with all their assets, their loss and their scores."""
