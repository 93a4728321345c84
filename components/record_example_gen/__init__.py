"""ExampleGen for data that is records already: TFRecord, CSV and Parquet through TFX's own readers."""
