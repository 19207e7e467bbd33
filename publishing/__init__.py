"""From the lessons to what is handed out: editions, assignments, slides, book, teachers' pages."""
