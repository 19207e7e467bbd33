"""Pages for teachers, made from the lessons: minutes, plans and misconceptions."""
