"""The service proxy: services and their endpoints as rules of this node's packet filter."""
