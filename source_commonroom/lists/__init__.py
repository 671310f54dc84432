"""What can only be read page by page: lists, whole or from both ends, compared with what the API counts."""
