# Nothing of the handshake is called from C: it costs three calls per connection.
