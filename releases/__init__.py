"""The repository of signed releases: store, keys, metadata, commit protocol, channels, bundles, verification; no TFX."""
