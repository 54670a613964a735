"""Row types, plans, and the function that is generated for each plan."""
