"""Brings a device to the release that its channel offers, whole or not at all."""
