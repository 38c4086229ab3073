"""The deconvnet: record a forward pass, choose units, walk down to pixels, draw what arrives."""
