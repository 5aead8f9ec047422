"""The catalog: what a user declares in group_vars, checked as a whole and turned into the plan the roles carry out."""
