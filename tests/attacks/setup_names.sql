-- Beside setup.sql, in a database of its own: other relations and functions with the names of the bank's. (An unqualified
-- name is every relation of that name, so these alone get many texts refused that must be judged by their shape elsewhere.)

CREATE TABLE shop.users (id int, credit_card text);
INSERT INTO shop.users VALUES (7, 'shop');
CREATE VIEW evil.users AS SELECT id, credit_card || '' AS credit_card FROM public.users;
CREATE FUNCTION evil.lpad(text, int) RETURNS text LANGUAGE sql STABLE AS 'SELECT credit_card FROM public.users WHERE id = 7';
GRANT SELECT ON shop.users, evil.users TO bank_app;
