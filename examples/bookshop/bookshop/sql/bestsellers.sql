-- What sold best since a day. Checked like the SQL in Python files; findings point here.
SELECT b.title,
       sum(l.quantity) AS copies,
       sum(l.quantity * l.price) AS revenue
FROM order_lines l
JOIN orders o ON o.id = l.order_id
JOIN books b ON b.id = l.book_id
WHERE o.placed_at >= :since AND o.status <> 'cancelled'
GROUP BY b.id
ORDER BY copies DESC, b.title
LIMIT :at_most
