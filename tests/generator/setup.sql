-- The generator's database: a small bank whose protected columns hold canaries (put in by canaries.py). Everything in it
-- belongs to the superuser.

CREATE SCHEMA alt;
GRANT USAGE ON SCHEMA public, alt TO bank_app;
GRANT TEMPORARY ON DATABASE :"DBNAME" TO bank_app;

CREATE TABLE countries (code text PRIMARY KEY, title text, zone int);
CREATE TABLE people (id int PRIMARY KEY, name text, score int, country text REFERENCES countries, born timestamp, balance numeric(12,2),
                     mail text, card text, secret text, ssn bigint, tags text[], meta jsonb);
CREATE TABLE orders (id int PRIMARY KEY, person_id int REFERENCES people ON DELETE CASCADE, amount numeric(12,2), note text, status text, placed timestamp);
CREATE TABLE items (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE, sku text, qty int, price numeric(12,2));
CREATE TABLE events (id int, kind text, who text, n int) PARTITION BY LIST (kind);
CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a', 'c');
CREATE TABLE events_b PARTITION OF events FOR VALUES IN ('b', 'd');
CREATE TABLE people_old () INHERITS (people);
CREATE TABLE alt.orders (id int PRIMARY KEY, person_id int, amount numeric(12,2), note text, status text, placed timestamp);
CREATE TABLE notes (id int PRIMARY KEY, body text, n int);

INSERT INTO countries SELECT 'c' || n, 'country ' || n, n % 3 FROM generate_series(0, 4) n;
INSERT INTO people SELECT n, 'name' || n, nullif(n * 7 % 11, 3), 'c' || n % 5, timestamp '2001-01-01' + n * interval '97 days', n * 12.5
    FROM generate_series(1, 12) n;
INSERT INTO people_old SELECT n, 'name' || n, n * 5 % 13, 'c' || n % 5, timestamp '2001-01-01' + n * interval '31 days', n * 2.25
    FROM generate_series(101, 104) n;
INSERT INTO orders SELECT n, 1 + n * 5 % 12, n * 3.75, nullif('note ' || n % 6, 'note 2'), (array['new', 'paid', 'sent'])[1 + n % 3], timestamp '2020-01-01' + n * interval '13 hours'
    FROM generate_series(1, 24) n;
INSERT INTO alt.orders SELECT n, n % 12, n, 'alt', 'new', timestamp '2022-01-01' FROM generate_series(1, 5) n;
INSERT INTO items SELECT n, 1 + n * 7 % 24, 'sku' || n % 9, n % 5, n * 1.25 FROM generate_series(1, 36) n;
INSERT INTO events SELECT n, (array['a', 'b', 'c', 'd'])[1 + n % 4], NULL, n * 3 FROM generate_series(1, 12) n;
INSERT INTO notes SELECT n, 'body ' || n, n FROM generate_series(1, 6) n;

CREATE VIEW v_people AS SELECT * FROM people;
CREATE VIEW v_open AS SELECT id, name, score, country FROM people WHERE id < 11;
CREATE VIEW v_cards AS SELECT id, card AS number, mail FROM people;
CREATE VIEW v_totals AS SELECT person_id, sum(amount) AS total, count(*) AS n FROM orders GROUP BY person_id;
CREATE VIEW v_made AS SELECT id, 'p ' || card AS c FROM people;
CREATE MATERIALIZED VIEW mv_orders AS SELECT status, count(*) AS n, sum(amount) AS total FROM orders GROUP BY status;
CREATE FUNCTION f_card(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card FROM public.people WHERE id = $1';
CREATE FUNCTION f_twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION f_orders(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM public.orders WHERE person_id = $1';
CREATE TABLE holder (id int PRIMARY KEY, p people);
