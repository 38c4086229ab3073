"""The web and the command line of the deconvnet explorer."""
