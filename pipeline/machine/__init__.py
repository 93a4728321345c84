"""This machine and this installation: which stack of libraries fits, and what is amiss."""
