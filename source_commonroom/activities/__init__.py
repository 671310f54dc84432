"""What is read by time: activities, in windows, with a state."""
