"""What people look at: figures, tables, and explanations in words."""
