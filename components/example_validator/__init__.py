"""An ExampleValidator that stops the run: data that breaks the schema never reaches the Trainer."""
