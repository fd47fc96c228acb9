"""What is wanted: which mags the config, the properties and the images ask for, and how each is made."""
