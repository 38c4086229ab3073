"""The REST interface, a file a resource."""
