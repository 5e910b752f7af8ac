"""What tests are made with: real brokers, sound systems, cameras and processes."""
