"""The wide-area network of the lab: links with delay, loss and cuts, and WireGuard on top of them."""
