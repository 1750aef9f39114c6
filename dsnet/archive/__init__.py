"""Label a whole archive into a store."""
