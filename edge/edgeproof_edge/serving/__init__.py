"""A model over HTTP, for programs on the device and on its network, and a page to try it."""
