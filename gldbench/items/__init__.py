"""Items with their prompt, gold answer, responses and grades: `read` collects them, `text` and `page` show them."""
