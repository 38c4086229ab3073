"""The paper's experiments, one a file, all of one shape."""
