"""One module for each version: never changed once it was released."""
