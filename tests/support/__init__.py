"""What tests share: servers, small shops, processes and fixtures."""
