"""Where objects are kept: a seam with one implementation over etcd and one in memory."""
