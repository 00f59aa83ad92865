"""Who owns which field: managedFields of every write, and server-side apply on top of them."""
