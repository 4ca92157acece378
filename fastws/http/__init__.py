"""HTTP beside WebSockets: requests, responses, static files, and the upgrade."""
