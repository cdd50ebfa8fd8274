"""What the tests share: starting the server, finding and running clients, making images."""
