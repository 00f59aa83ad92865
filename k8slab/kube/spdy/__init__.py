"""SPDY/3.1 without I/O: what kubectl speaks on a connection that was upgraded."""
