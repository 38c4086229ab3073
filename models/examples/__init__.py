"""The strongest activations over a data set (Zeiler & Fergus 2013, Fig. 2): build, merge, read."""
