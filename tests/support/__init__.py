"""What tests share: servers, small shops, processes, fixtures of every kind."""
