"""What an agent starts for the framework: the parent of a minion's executor and of its service proxy."""
