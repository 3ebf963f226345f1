package chainsync

// Outstanding returns how many requests of a client are under way.
func Outstanding(c *Client) int { return c.session.Outstanding() }
