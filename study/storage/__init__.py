"""How records are kept on a disk or in a store: files, locks, leases, the names of all of them."""
