"""What a row of the API becomes."""
