"""What data comes in: one class per format, in one table (:mod:`components.formats.table`)."""
