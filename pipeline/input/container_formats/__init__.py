"""One module for every format of containers: `members` lists, `read` reads one of them."""
