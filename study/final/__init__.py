"""Winners trained again, what a sceptic would use instead, and the test days that judge both."""
