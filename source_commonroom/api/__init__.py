"""How one page is got from the API, and the pages of a list one after the other."""
