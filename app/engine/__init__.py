"""What computes: the device's queue, what is kept, the networks on offer."""
