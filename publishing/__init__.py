"""What is handed out: editions, assignments, slides, the book, and pages for teachers."""
