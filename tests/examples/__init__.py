"""The examples, used as their users would use them."""
