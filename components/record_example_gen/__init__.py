"""ExampleGen for data that is records already: any format of the table whose files hold rows."""
