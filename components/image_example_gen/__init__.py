"""An ExampleGen for folders of images: the folder is the label, and near-duplicates never straddle two splits."""
