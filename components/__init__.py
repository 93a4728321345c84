"""The TFX components: a folder is a room with its contract, a thin executor and cores named by subject."""
